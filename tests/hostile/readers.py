"""The table of all readers of foreign bytes."""

from tests.hostile.clips import CLIPS
from tests.hostile.conversions import CONVERSIONS
from tests.hostile.domains import DOMAINS
from tests.hostile.networks import NETWORKS
from tests.hostile.photographs import PHOTOGRAPHS
from tests.hostile.services import SERVICES

READERS = {**PHOTOGRAPHS, **CLIPS, **NETWORKS, **CONVERSIONS, **SERVICES, **DOMAINS}
