"""Which channels depend on which, and networks without some of them: traced, labelled, grouped, cut, checked."""

from jetpress.pipeline.network.channels.cutting import Step as Step
from jetpress.pipeline.network.channels.cutting import analyse as analyse
from jetpress.pipeline.network.channels.cutting import copied as copied
from jetpress.pipeline.network.channels.cutting import cut as cut
from jetpress.pipeline.network.channels.cutting import positions as positions
from jetpress.pipeline.network.channels.cutting import replay as replay
from jetpress.pipeline.network.channels.groups import ChannelGraph as ChannelGraph
from jetpress.pipeline.network.channels.groups import Group as Group
