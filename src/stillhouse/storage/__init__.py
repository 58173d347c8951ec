"""Object stores, a directory or an S3 bucket, without any knowledge of databases or of the meaning of bytes."""
