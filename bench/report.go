package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
)

//go:embed report.html
var reportPage string

var reportTemplate = template.Must(template.New("report").Parse(reportPage))

// WriteReport writes one HTML page of measurements, in their order, that needs no
// other file: a table of each and the plots of those that have some. The drawings are
// SVG and there is no script.
func WriteReport(w io.Writer, ms []Measurement) error {
	type section struct {
		Measurement
		Plots []drawing
		Names []string
		Lines [][]string
	}
	var page []section
	for _, m := range ms {
		s := section{Measurement: m}
		var err error
		if s.Names, s.Lines, err = m.table(); err != nil {
			return err
		}
		plots, err := m.plots()
		if err != nil {
			return err
		}
		for _, p := range plots {
			if d, ok := p.draw(); ok {
				s.Plots = append(s.Plots, d)
			}
		}
		page = append(page, s)
	}
	return reportTemplate.Execute(w, page)
}

// plots are the drawings of a measurement: none for a workload that has none.
func (m Measurement) plots() ([]plot, error) {
	switch m.Workload {
	case "ann":
		l, err := rows[ANNRow](m)
		return annPlots(l), err
	case "query":
		l, err := rows[QueryRow](m)
		return queryPlots(l), err
	case "peer":
		l, err := rows[PeerRow](m)
		return peerPlots(l), err
	case "model":
		l, err := rows[CostRow](m)
		var mean, fill series
		mean.Name, fill.Name = "a hundred more", "while filling"
		for _, r := range l {
			mean.Points = append(mean.Points, [2]float64{float64(r.Documents), r.CPU})
			fill.Points = append(fill.Points, [2]float64{float64(r.Documents), r.Fill})
		}
		return []plot{{Title: "Cost of a document as the base grows", X: "documents in the base", Y: "CPU ms a document", LogX: true, Series: []series{mean, fill}}}, err
	case "ingest":
		l, err := rows[IngestResult](m)
		p := plot{Title: "Cost of a thousand documents as the base grows", X: "documents in the base", Y: "CPU seconds a thousand"}
		for i, r := range l {
			s := series{Name: fmt.Sprintf("run %d", i+1)}
			for k, v := range r.CPUByThousand {
				s.Points = append(s.Points, [2]float64{float64(1000 * (k + 1)), v})
			}
			p.Series = append(p.Series, s)
		}
		return []plot{p}, err
	}
	return nil, nil
}

// annPlots are recall against speed, a plot for each kind of vectors.
func annPlots(l []ANNRow) (out []plot) {
	for _, r := range l {
		title := "Recall against speed: " + r.Kind
		i := slices.IndexFunc(out, func(p plot) bool { return p.Title == title })
		if i < 0 {
			i = len(out)
			out = append(out, plot{Title: title, X: "recall@10", Y: "searches a CPU second", LogY: true})
		}
		out[i].add(fmt.Sprintf("%s, %d vectors", r.Mode, r.Vectors), r.Recall, r.QPS)
	}
	for _, p := range out {
		for i := range p.Series {
			p.Series[i].Bare = true
		}
	}
	return out
}

// queryPlots are the distributions of latencies, a plot for each size of base.
func queryPlots(l []QueryRow) (out []plot) {
	for _, r := range l {
		title := fmt.Sprintf("Distribution of latencies, %d chunks", r.Chunks)
		i := slices.IndexFunc(out, func(p plot) bool { return p.Title == title })
		if i < 0 {
			i = len(out)
			out = append(out, plot{Title: title, X: "percent of the questions", Y: "ms at most", LogY: true})
		}
		for k, v := range r.TotalTimes {
			out[i].add(fmt.Sprintf("%s, clients: %d", r.Mode, r.Clients), 100*LatencyQuantiles[min(k, len(LatencyQuantiles)-1)], v)
		}
	}
	return out
}

// peerPlots are what a document costs and what a question takes as the base grows.
func peerPlots(l []PeerRow) []plot {
	cost := plot{Title: "Cost of a document as the base grows", X: "documents in the base", Y: "CPU ms a document", LogX: true, LogY: true}
	query := plot{Title: "A question as the base grows", X: "documents in the base", Y: "ms", LogX: true, LogY: true}
	for _, r := range l {
		cost.add(r.Peer, float64(r.Documents), r.CPU*1000)
		query.add(r.Peer+" p50", float64(r.Documents), r.QueryP50)
		query.add(r.Peer+" p99", float64(r.Documents), r.QueryP99)
	}
	return []plot{cost, query}
}

// add puts a point at the end of a series, which it makes when there is none of the name.
func (p *plot) add(name string, x, y float64) {
	i := slices.IndexFunc(p.Series, func(s series) bool { return s.Name == name })
	if i < 0 {
		i = len(p.Series)
		p.Series = append(p.Series, series{Name: name})
	}
	p.Series[i].Points = append(p.Series[i].Points, [2]float64{x, y})
}
