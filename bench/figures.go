package bench

import (
	"fmt"
	"strings"
)

// Figures writes measurements of the workloads peer, query and ann as the tables of a
// README, in Markdown.
func Figures(ms []Measurement) (string, error) {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, "`%s` (%s):\n\n", m.Command(), m.Machine())
		var err error
		switch m.Workload {
		case "peer":
			err = peerFigures(&b, m)
		case "query":
			err = queryFigures(&b, m)
		case "ann":
			err = annFigures(&b, m)
		default:
			err = fmt.Errorf("there are no figures of %q: of peer, query and ann", m.Workload)
		}
		if err != nil {
			return "", err
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

func peerFigures(b *strings.Builder, m Measurement) error {
	l, err := rows[PeerRow](m)
	if err != nil {
		return err
	}
	b.WriteString("| server | documents | ms a document | CPU ms a document | question p50 / p99 ms | resident MB | disk MB | first answer after a restart, s |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range l {
		cut := ""
		if r.Cut {
			cut = ", still at work"
		}
		fmt.Fprintf(b, "| %s %s | %d%s | %s | %s | %s / %s | %.0f | %s | %s |\n", r.Peer, r.Version, r.Documents, cut, short(r.Seconds*1000), short(r.CPU*1000),
			short(r.QueryP50), short(r.QueryP99), float64(r.RSS)/1e6, short(float64(r.Disk)/1e6), short(r.Answering))
	}
	for _, x := range PeerRatios(l) {
		fmt.Fprintf(b, "| %s over %s | %d | %s× | %s× | %s× / %s× | %s× | %s× | %s× |\n", x.Other, x.Peer, x.Documents, short(x.Seconds), short(x.CPU),
			short(x.QueryP50), short(x.QueryP99), short(x.RSS), short(x.Disk), short(x.Answering))
	}
	return nil
}

func queryFigures(b *strings.Builder, m Measurement) error {
	l, err := rows[QueryRow](m)
	if err != nil {
		return err
	}
	b.WriteString("| mode | chunks | clients | mean ms | p50 | p95 | p99 | questions a second | server CPU ms a question |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range l {
		fmt.Fprintf(b, "| %s | %d | %d | %s | %s | %s | %s | %.0f | %s |\n", r.Mode, r.Chunks, r.Clients, short(r.TotalMean), short(r.TotalP50), short(r.TotalP95), short(r.TotalP99), r.PerSecond, short(r.CPU))
	}
	return nil
}

func annFigures(b *strings.Builder, m Measurement) error {
	l, err := rows[ANNRow](m)
	if err != nil {
		return err
	}
	b.WriteString("| vectors | number | way | recall@10 | with so many percent deleted | deleted found | searches a CPU second | build CPU s | bytes a vector |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range l {
		var after []string
		found := 0
		for _, d := range r.After {
			after = append(after, fmt.Sprintf("%d: %.4f", d.Percent, d.Recall))
			found += d.Deleted
		}
		fmt.Fprintf(b, "| %s | %d | %s | %.4f | %s | %d | %.0f | %s | %.0f |\n", r.Kind, r.Vectors, r.Mode, r.Recall, strings.Join(after, ", "), found, r.QPS, short(r.Build), r.Bytes)
	}
	return nil
}

// short is a number with two or three digits that count.
func short(v float64) string {
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
