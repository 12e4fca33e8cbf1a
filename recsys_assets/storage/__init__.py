"""Objects on local disks and S3: partitions with lineage, releases, the pointer, memory-mapped lists.

Belongs here: keys, atomic writes, hashes, compare-and-swap. Does not belong here: what the objects mean. The API shares
this package.
"""
