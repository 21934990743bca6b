"""``conpaassql job``: how it went with what was ordered."""

import click

from conpaassql.client import asking, options
from conpaassql.client.asking import Asking
from conpaassql.client.ends import End
from conpaassql.client.tables import Column, column
from conpaassql.errors import Invalid

JOBS = (
    column("ID", "id", right=True),
    column("KIND", "kind"),
    column("STATE", "state"),
    Column(title="DONE", value=lambda job: f"{job['progress']:.0%}", right=True),
    column("BEGAN", "created_at"),
    column("ENDED", "ended_at"),
    column("SAYS", "says"),
)


@click.group()
def job() -> None:
    """What was ordered and takes longer than an answer."""


@job.command("show")
@click.argument("number", metavar="JOB", type=click.IntRange(min=1))
@click.option("--wait", is_flag=True, help="Follow the job to its end first.")
@asking.asking
def show(ask: Asking, *, number: int, wait: bool) -> End:
    """Show a job. The exit status is 1 when it has failed."""
    found = asking.follow(ask, number) if wait else asking.look(ask, "get_job", job=number)["job"]
    asking.show(ask, {"job": found}, JOBS, [found])
    return End.REFUSED if found["state"] == "failed" else End.DONE


@job.command("list")
@options.text("--provider-id", "Jobs at this provider: its machines and snapshots.")
@options.text("--cluster", "Jobs of this cluster; without either option of the one called default.")
@asking.asking
def list_(ask: Asking, *, provider_id: str, cluster: str) -> End:
    """List the newest thousand jobs of a cluster or of a provider, the newest last."""
    if provider_id and cluster:
        raise Invalid("--provider-id and --cluster exclude each other; give one of them.")
    result = asking.look(ask, "list_jobs", provider_id=provider_id, cluster=cluster)
    return asking.show(ask, result, JOBS, result["jobs"])
