"""The power cut test: all that deployctl acknowledged or made live must survive a power cut.

A power cut is simulated by ext4: the ioctl EXT4_IOC_SHUTDOWN without a flush stops the file system
at once, and what was not synced is gone when it is mounted next. The state and the deployed files
are on loop-mounted images, in a mount and process namespace of the test: when the test ends, in
whatever way, the kernel removes processes, mounts and loop devices together with the namespace.
"""
