"""AWS on one machine: moto's server, and what it lacks for a stack to be made by CloudFormation and commands to run by SSM."""
