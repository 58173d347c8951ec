"""Object stores: a directory or an S3 bucket. Knows nothing of databases or of the meaning of bytes."""
