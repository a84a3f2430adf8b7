"""Networks, subnets and security groups of clouds."""
