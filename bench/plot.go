package bench

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// plot is a drawing of series over two axes.
type plot struct {
	Title, X, Y string
	LogX, LogY  bool
	Series      []series
}

// series is a line through its points, or the points alone.
type series struct {
	Name   string
	Points [][2]float64
	Bare   bool // no line
}

// drawing is a plot in the units of its SVG; the template writes it down.
type drawing struct {
	Title, X, Y              string
	Width, Height            int
	Left, Right, Top, Bottom float64 // of the area of the axes
	Middle                   float64
	XTicks, YTicks           []tick
	Lines                    []line
}

type tick struct {
	At    float64
	Label string
}

type line struct {
	Name, Color string
	Path        string // of an SVG polyline; empty for points alone
	Dots        []dot
	Key         float64 // height of its name beside the plot
}

type dot struct {
	X, Y  float64
	Label string
}

// colours tell up to eight series apart, also for people who do not see all colours
// (the palette of Okabe and Ito).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933"}

const (
	plotWidth, plotHeight = 760, 360
	plotKey               = 230 // width of the names
)

// plotMost and plotLeast bound what is drawn: no figure of ours comes near, and axes
// whose ends overflow have no end of ticks.
const plotMost, plotLeast = 1e15, 1e-12

// draw places a plot. A point that its axes do not have is left out: one beyond
// plotMost, or below plotLeast where the axis is logarithmic. It says false when nothing
// is left.
func (p plot) draw() (drawing, bool) {
	d := drawing{Title: p.Title, X: p.X, Y: p.Y, Width: plotWidth, Height: plotHeight, Left: 70, Right: plotWidth - plotKey, Top: 16, Bottom: plotHeight - 50}
	d.Middle = (d.Top + d.Bottom) / 2
	var xs, ys []float64
	var kept []series
	for _, s := range p.Series {
		s.Points = slices.DeleteFunc(slices.Clone(s.Points), func(q [2]float64) bool {
			return p.LogX && q[0] < plotLeast || p.LogY && q[1] < plotLeast || math.Abs(q[0]) > plotMost || math.Abs(q[1]) > plotMost
		})
		for _, q := range s.Points {
			xs, ys = append(xs, q[0]), append(ys, q[1])
		}
		if len(s.Points) > 0 {
			kept = append(kept, s)
		}
	}
	if len(xs) == 0 {
		return d, false
	}
	x, y := newAxis(xs, p.LogX), newAxis(ys, p.LogY)
	px := func(v float64) float64 { return round1(d.Left + x.at(v)*(d.Right-d.Left)) }
	py := func(v float64) float64 { return round1(d.Bottom - y.at(v)*(d.Bottom-d.Top)) }
	for _, t := range x.ticks {
		d.XTicks = append(d.XTicks, tick{px(t), number(t)})
	}
	for _, t := range y.ticks {
		d.YTicks = append(d.YTicks, tick{py(t), number(t)})
	}
	for i, s := range kept {
		l := line{Name: s.Name, Color: colours[i%len(colours)], Key: d.Top + 12 + 18*float64(i)}
		var path []string
		for _, q := range s.Points {
			at := dot{px(q[0]), py(q[1]), fmt.Sprintf("%s: %s, %s", s.Name, number(q[0]), number(q[1]))}
			l.Dots = append(l.Dots, at)
			path = append(path, fmt.Sprintf("%g,%g", at.X, at.Y))
		}
		if !s.Bare {
			l.Path = strings.Join(path, " ")
		}
		d.Lines = append(d.Lines, l)
	}
	d.Height = max(d.Height, int(d.Top)+30+18*len(kept))
	return d, true
}

// axis places values between 0 and 1.
type axis struct {
	min, max float64 // of the scale: logarithms when log
	log      bool
	ticks    []float64
}

// newAxis makes an axis that holds all values and ends at ticks: 1, 2 and 5 times powers
// of ten.
func newAxis(values []float64, log bool) axis {
	lo, hi := slices.Min(values), slices.Max(values)
	a := axis{log: log}
	if log {
		first, last := floorNice(lo), ceilNice(hi)
		if first == last {
			last = ceilNice(last * 1.5)
		}
		decades := math.Log10(last / first)
		for t := first; t <= last*1.0001; t = ceilNice(t * 1.5) {
			lead := math.Round(t / math.Pow(10, math.Floor(math.Log10(t)+1e-9)))
			if decades <= 2.5 || lead == 1 || t == first || len(a.ticks) == 0 {
				a.ticks = append(a.ticks, t)
			}
		}
		a.min, a.max = math.Log10(first), math.Log10(last)
		return a
	}
	if lo == hi {
		lo, hi = lo-0.5, hi+0.5
	}
	step := ceilNice((hi - lo) / 6)
	first, last := math.Floor(lo/step+1e-9), math.Ceil(hi/step-1e-9)
	for i := first; i <= last; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	a.min, a.max = first*step, last*step
	return a
}

func (a axis) at(v float64) float64 {
	if a.log {
		v = math.Log10(v)
	}
	return (v - a.min) / (a.max - a.min)
}

// ceilNice is the least of 1, 2 and 5 times a power of ten that is not below v > 0.
func ceilNice(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// floorNice is the largest of them that is not above v > 0.
func floorNice(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{5, 2} {
		if v >= m*power*(1-1e-9) {
			return m * power
		}
	}
	return power
}

func round1(v float64) float64 { return math.Round(v*10) / 10 }

// number shows a number with four digits of a fraction at most, fewer as it grows.
func number(v float64) string {
	digits := 4
	switch m := math.Abs(v); {
	case m >= 1000:
		digits = 0
	case m >= 100:
		digits = 1
	case m >= 1:
		digits = 2
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
