"""Power cuts: what deployctl acknowledged and made live, after the file system forgot the rest.

A cut is ext4's own: the ioctl EXT4_IOC_SHUTDOWN without a flush stops a file system at once, and
what was not synced is gone when it is mounted again. State and deployment lie on loop-mounted
images, in one mount and process namespace of the command: whatever happens to it, the kernel takes
processes, mounts and loop devices away with that.
"""
