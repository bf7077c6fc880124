"""git behind plain values: a bare mirror of what is fetched, a checkout of what is deployed.

Reading a repository (commits, ancestry) goes through GitPython; what moves data or could hang
(fetch, checkout) is the git command itself, with a deadline that ends its whole process group and
with arguments that only repos.yml and our own record supply.
"""
