"""The HTTP room: what a person, a load balancer or an autoscaler asks of us."""
