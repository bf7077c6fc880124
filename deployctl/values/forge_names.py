"""The names of the forges, as repos.yml writes them; ``webhook/forges`` has a module for each."""

FORGES = (
    *("github", "gitlab", "bitbucket", "bitbucket-server", "gitea", "forgejo", "gogs", "gitee"),
    *("codeup", "coding", "azure-devops", "sourcehut", "standard-webhooks"),
)
FORGE_ALIASES = {"codeberg": "forgejo"}
