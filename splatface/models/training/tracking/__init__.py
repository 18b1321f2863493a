"""What a picture shows of a face."""
