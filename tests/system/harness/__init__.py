"""What the system tests share: data sets, jobs, daemons, the command, and what a run leaves."""
