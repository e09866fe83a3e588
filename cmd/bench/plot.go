package bench

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// The plot is an SVG with two panels: latency over time, and the distribution of latencies. The package writes the SVG
// itself, since the plotting libraries for Go include fonts, a PDF writer and a TeX parser, which are twice the size of
// this package.

// Sizes in SVG units.
const (
	plotWidth   = 1120
	plotHeight  = 480
	panelWidth  = 460
	panelTop    = 50
	panelHeight = 320
	panelLeft   = 70 // of the first panel; the second is half the width of the plot further right
	// legendColumns is 3, so that the three quantiles of one series are in one row.
	legendColumns = 3
	// maxShare is the end of the axis of the distribution, since it cannot show 100 %.
	maxShare = 1 - 1e-6
)

var plotColours = [...]string{"#1f6fb4", "#c8500a", "#2b8a3e", "#8a3ea8", "#6b5b00"}

// line is a curve in a panel.
type line struct {
	name, colour, dash string
	x, y               []float64
}

// panel is a pair of axes with lines. The functions x and y map values to 0…1.
type panel struct {
	left           float64
	title          string
	x, y           func(float64) float64
	xTicks, yTicks []tick
	lines          []line
}

type tick struct {
	at   float64
	text string
}

// WritePlot writes an SVG with the latencies of a report.
func WritePlot(w io.Writer, title string, all []Series) error {
	least, most := extent(all)
	y := logScale(least, most)
	ticks := decades(least, most)
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#222">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	text(&out, plotWidth/2, 20, "middle", title)
	overTime(all, y, ticks).write(&out)
	distribution(all, y, ticks).write(&out)
	out.WriteString("</svg>\n")
	_, err := io.WriteString(w, out.String())
	return err
}

// overTime returns the panel with the median, the 99th percentile and the maximum latency of each series over time.
func overTime(all []Series, y func(float64) float64, ticks []tick) panel {
	end := 1.0
	for _, s := range all {
		for _, p := range s.Parts {
			end = max(end, p.Seconds)
		}
	}
	p := panel{left: panelLeft, title: "latency in ms over time in s", x: func(v float64) float64 { return v / end }, y: y, yTicks: ticks}
	step := math.Pow(10, math.Floor(math.Log10(end)))
	for _, finer := range []float64{1, 0.5, 0.2, 0.1} {
		if end/(step*finer) >= 4 {
			step *= finer
			break
		}
	}
	for v := 0.0; v <= end; v += step {
		p.xTicks = append(p.xTicks, tick{v, number(v)})
	}
	for i, s := range all {
		for _, q := range []struct {
			name, dash string
			of         func(Part) float64
		}{
			{"p50", "", func(p Part) float64 { return p.P50 }},
			{"p99", "6 3", func(p Part) float64 { return p.P99 }},
			{"max", "1 3", func(p Part) float64 { return p.Max }},
		} {
			l := line{name: s.Name + " " + q.name, colour: plotColours[i%len(plotColours)], dash: q.dash}
			for _, part := range s.Parts {
				l.x, l.y = append(l.x, part.Seconds), append(l.y, q.of(part))
			}
			p.lines = append(p.lines, l)
		}
	}
	return p
}

// distribution returns the panel with the distribution of each series. The axis is logarithmic: 90 %, 99 % and 99.9 %
// have the same distance.
func distribution(all []Series, y func(float64) float64, ticks []tick) panel {
	nines := func(share float64) float64 { return -math.Log10(1 - min(share, maxShare)) }
	end := 2.0
	for _, s := range all {
		if s.Whole.Count > 1 {
			end = max(end, min(math.Ceil(math.Log10(float64(s.Whole.Count))), nines(maxShare)))
		}
	}
	p := panel{left: plotWidth/2 + panelLeft, title: "latency in ms by share of all", y: y, yTicks: ticks,
		x: func(share float64) float64 { return min(nines(share)/end, 1) }}
	for _, share := range []struct {
		at   float64
		text string
	}{{0, "0"}, {.5, "50 %"}, {.9, "90 %"}, {.99, "99 %"}, {.999, "99.9 %"}, {.9999, "99.99 %"}, {.99999, "99.999 %"}} {
		if nines(share.at) <= end {
			p.xTicks = append(p.xTicks, tick{share.at, share.text})
		}
	}
	for i, s := range all {
		l := line{name: s.Name, colour: plotColours[i%len(plotColours)]}
		for _, step := range s.Steps {
			l.x, l.y = append(l.x, step.Share), append(l.y, step.Millis)
		}
		p.lines = append(p.lines, l)
	}
	return p
}

func (p panel) write(out *strings.Builder) {
	px := func(v float64) float64 { return p.left + panelWidth*p.x(v) }
	py := func(v float64) float64 { return panelTop + panelHeight*(1-p.y(v)) }
	text(out, p.left+panelWidth/2, panelTop-10, "middle", p.title)
	for _, t := range p.yTicks {
		fmt.Fprintf(out, `<path d="M%.1f %.1fh%d" stroke="#ddd"/>`+"\n", p.left, py(t.at), panelWidth)
		text(out, p.left-6, py(t.at)+4, "end", t.text)
	}
	for _, t := range p.xTicks {
		fmt.Fprintf(out, `<path d="M%.1f %dv%d" stroke="#eee"/>`+"\n", px(t.at), panelTop, panelHeight)
		text(out, px(t.at), panelTop+panelHeight+16, "middle", t.text)
	}
	fmt.Fprintf(out, `<rect x="%.1f" y="%d" width="%d" height="%d" fill="none" stroke="#888"/>`+"\n", p.left, panelTop, panelWidth, panelHeight)
	for i, l := range p.lines {
		if len(l.x) == 0 {
			continue
		}
		legend, row := p.left+float64(i%legendColumns)*panelWidth/legendColumns, float64(panelTop+panelHeight+36+18*(i/legendColumns))
		fmt.Fprintf(out, `<polyline fill="none" stroke="%s" stroke-width="1.5" stroke-dasharray="%s" points="`, l.colour, l.dash)
		for i := range l.x {
			fmt.Fprintf(out, "%.1f,%.1f ", px(l.x[i]), py(l.y[i]))
		}
		out.WriteString("\"/>\n")
		fmt.Fprintf(out, `<path d="M%.1f %.1fh18" stroke="%s" stroke-width="1.5" stroke-dasharray="%s"/>`+"\n", legend, row, l.colour, l.dash)
		text(out, legend+22, row+4, "start", l.name)
	}
}

func text(out *strings.Builder, x, y float64, anchor, s string) {
	fmt.Fprintf(out, `<text x="%.1f" y="%.1f" text-anchor="%s">`, x, y, anchor)
	_ = xml.EscapeText(out, []byte(s)) // writing to a strings.Builder cannot fail
	out.WriteString("</text>\n")
}

// extent returns the minimum and maximum latency, rounded down and up to powers of ten.
func extent(all []Series) (least, most float64) {
	least, most = math.Inf(1), 0
	for _, s := range all {
		for _, step := range s.Steps {
			if step.Millis > 0 {
				least = min(least, step.Millis)
			}
			most = max(most, step.Millis)
		}
	}
	if most == 0 {
		return 0.1, 10
	}
	least, most = math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(most)))
	if least == most {
		most *= 10
	}
	return least, most
}

func logScale(least, most float64) func(float64) float64 {
	return func(v float64) float64 {
		return math.Log10(min(max(v, least), most)/least) / math.Log10(most/least)
	}
}

func decades(least, most float64) []tick {
	var all []tick
	for v := least; v <= most*1.001; v *= 10 {
		all = append(all, tick{v, strconv.FormatFloat(v, 'f', -1, 64)})
	}
	return all
}
