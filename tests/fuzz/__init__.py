"""Random requests: legal ones train alike in every way, others end in one message."""
