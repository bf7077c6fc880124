"""Reading and checking of repos.yml and of a project's own pipeline file.

Most code imports ``deployctl.config.load``, which needs PyYAML. The code that answers a webhook
imports only ``deployctl.config.compiled`` and ``deployctl.config.locate``, which load faster. This
file imports nothing, because it runs before them.
"""
