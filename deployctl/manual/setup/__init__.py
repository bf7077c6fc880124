"""Ready-made configuration for the programs that start deployctl, with the paths of this machine.

Other packages need only :mod:`deployctl.manual.setup.topics`.
"""
