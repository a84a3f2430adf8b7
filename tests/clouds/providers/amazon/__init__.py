"""EC2, against a real moto_server and a front before it that pages and fails on request."""
