"""What the drivers by apache-libcloud (OPENSTACK and EC2) share; ``wire`` alone knows libcloud."""
