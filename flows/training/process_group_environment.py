"""How a Dask worker and the member of a group that it starts find each other."""

MESSAGES, LISTENING = "TIMESEN_GROUP_MESSAGES", "TIMESEN_GROUP_LISTENING"
"""Variables of a member's environment: the file descriptors of its messages, and of the port that
is open already for the first of the group."""
