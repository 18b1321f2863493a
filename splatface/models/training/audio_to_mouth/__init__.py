"""Train the nets that turn audio features into mouth motion, for every voice and head."""
