"""The mutating admission webhook of vramshare.

`create_app` is all that another application needs in order to mount it; `Step` and `StepContext` are for an own step
of the mutation.
"""

from webhook.admission import Grants, Step, StepContext
from webhook.app import HEALTH, Health, create_app
from webhook.settings import WebhookSettings

__all__ = ["HEALTH", "Grants", "Health", "Step", "StepContext", "WebhookSettings", "create_app"]
