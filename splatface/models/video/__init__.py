"""A head's film: sound in, pictures and sound on one clock out, in a file. Any length, bounded memory."""
