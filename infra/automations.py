"""Have the Prefect server tell somebody when a run of timesen fails: webhook, Slack or mail.

python infra/automations.py webhook https://example.org/failed-runs
python infra/automations.py slack https://hooks.slack.com/services/…
SENDGRID_API_KEY=… python infra/automations.py mail from@example.org to@example.org …

It creates an automation on the server that PREFECT_API_URL names, and a block that keeps the
address; started again, it brings both up to date. `prefect automation delete NAME` ends it.
"""

import argparse
import os

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.blocks.core import Block
from prefect.blocks.notifications import SendgridEmail, SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.actions import CallWebhook, SendNotification

FLOWS = ["map-region", "map-regions", "pretrain"]
ENDED_BADLY = {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
# Jinja, filled in by the server: https://docs.prefect.io/v3/concepts/automations
PAYLOAD = """{
  "flow": {{ flow.name|tojson }},
  "run": {{ flow_run.name|tojson }},
  "state": {{ flow_run.state.name|tojson }},
  "message": {{ flow_run.state.message|tojson }},
  "url": {{ flow_run|ui_url|tojson }}
}"""
SUBJECT = "timesen: {{ flow_run.name }} {{ flow_run.state.name }}"
BODY = "{{ flow_run.state.message }}\n\n{{ flow_run|ui_url }}"


def main() -> None:
    """Create the automation that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind in ("webhook", "slack"):
        kinds.add_parser(kind).add_argument("url")
    mail = kinds.add_parser("mail", help="through SendGrid; its key is SENDGRID_API_KEY")
    mail.add_argument("sender")
    mail.add_argument("to", nargs="+")
    given = parser.parse_args()
    if given.kind == "mail" and "SENDGRID_API_KEY" not in os.environ:
        parser.error("set SENDGRID_API_KEY to the key of SendGrid's API")

    name = f"timesen-failed-runs-{given.kind}"
    block_id = _block(given).save(name, overwrite=True)
    if given.kind == "webhook":
        action = CallWebhook(block_document_id=block_id, payload=PAYLOAD)
    else:
        action = SendNotification(block_document_id=block_id, subject=SUBJECT, body=BODY)
    automation = AutomationCore(
        name=name,
        description="Tells of runs of timesen that failed or crashed",
        trigger=EventTrigger(
            expect=ENDED_BADLY,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.role": "flow", "prefect.resource.name": FLOWS},
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[action],
    )
    with get_client(sync_client=True) as client:
        if found := client.read_automations_by_name(name):
            client.update_automation(found[0].id, automation)
        else:
            client.create_automation(automation)
    print(f"{client.api_url} tells of failed runs: automation {name}")


def _block(given: argparse.Namespace) -> Block:
    """The block of Prefect that keeps where to send, encrypted on the server."""
    if given.kind == "webhook":
        return Webhook(method="POST", url=given.url, headers={"Content-Type": "application/json"})
    if given.kind == "slack":
        return SlackWebhook(url=given.url)
    return SendgridEmail(
        api_key=os.environ["SENDGRID_API_KEY"], sender_email=given.sender, to_emails=given.to
    )


if __name__ == "__main__":
    main()
