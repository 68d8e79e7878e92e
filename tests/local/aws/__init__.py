"""AWS on one machine: moto's server, and what it lacks for CloudFormation to make a stack and for SSM to run commands."""
