"""Run git: fetch a remote into a bare mirror, read commits, write files, move a checkout.

Nearly everything is a call of the git command, with a deadline that ends its whole process group,
and with arguments that come only from repos.yml and from deployctl's own record. GitPython answers
the few questions that most deployments do not ask (ancestry of commits).
"""
