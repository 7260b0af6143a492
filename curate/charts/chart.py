"""What a chart is, and the sizes and colours that all charts share."""

import altair as alt

Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart | alt.HConcatChart
WIDTH, HEIGHT = 560, 260  # pixels of a chart
ACCENT, MUTED = "#d94801", "#999"  # of what a reader should look at, and of helping lines
