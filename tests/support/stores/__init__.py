"""Object stores: real S3 servers, and stores that fail or count."""
