"""What operators do with edge nodes on AWS: one module for each command, and what the commands share.

Runs on Python 3.9, which Amazon Linux 2023 and CloudShell have, with boto3. Nothing is changed before everything was
checked; with --dry-run nothing is changed at all.
"""
