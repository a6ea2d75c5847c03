package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every value lies on its axis, which ends at ticks that people can read.
func TestAxis(t *testing.T) {
	for _, c := range []struct {
		values   []float64
		log      bool
		first    float64
		last     float64
		midpoint float64 // where the last of values lies
	}{
		{[]float64{0, 3, 10}, false, 0, 10, 1},
		{[]float64{0.91, 0.99}, false, 0.9, 1, 0.9},
		{[]float64{7}, false, 6.4, 7.6, 0.5},
		{[]float64{1, 1000, 10}, true, 1, 1000, 1. / 3},
		{[]float64{3, 4}, true, 2, 5, 0.7565},
		{[]float64{5}, true, 5, 10, 0},
		{[]float64{0.0004, 90_000, 1}, true, 0.0002, 100_000, 0.4252},
	} {
		a := newAxis(c.values, c.log)
		require.InDelta(t, c.first, a.ticks[0], 1e-9, "%+v", c)
		require.InDelta(t, c.last, a.ticks[len(a.ticks)-1], c.last*1e-9, "%+v", c)
		require.LessOrEqual(t, len(a.ticks), 12, "%+v", c)
		require.InDelta(t, c.midpoint, a.at(c.values[len(c.values)-1]), 1e-3, "%+v", c)
		for _, v := range c.values {
			require.True(t, a.at(v) >= -1e-9 && a.at(v) <= 1+1e-9, "%v of %+v", v, c)
		}
	}
}

// A point that no axis can hold is left out, and the axes end.
func TestPlot_Extremes(t *testing.T) {
	for _, log := range []bool{true, false} {
		p := plot{LogX: log, LogY: log, Series: []series{{Name: "a", Points: [][2]float64{
			{5e-324, 1}, {1, 1e308}, {-1e300, 1}, {1, 2}, {1e15, 1e-12}, {1e15, 1e15},
		}}, {Name: "gone", Points: [][2]float64{{1e300, 1}}}}}
		d, ok := p.draw()
		require.True(t, ok)
		require.Len(t, d.Lines, 1)
		require.Len(t, d.Lines[0].Dots, map[bool]int{true: 3, false: 4}[log])
		require.LessOrEqual(t, len(d.XTicks)+len(d.YTicks), 60)
	}
	_, ok := plot{LogY: true, Series: []series{{Points: [][2]float64{{1, 0}}}}}.draw()
	require.False(t, ok)
}

func TestNumber(t *testing.T) {
	for want, v := range map[string]float64{"0": 0, "0.9812": 0.98119, "2.5": 2.5, "1000": 1000, "123.5": 123.45, "-3": -3, "0.0001": 0.0001} {
		require.Equal(t, want, number(v))
	}
}

const measured = `[
{"workload":"query","flags":{"clients":"1,8","data-only":"true"},"version":"v1","go":"go1","os":"linux","arch":"amd64","processors":2,
 "result":[{"mode":"mix","chunks_in_the_base":1000,"clients":1,"questions_per_second":250,"total_mean_ms":4,"server_cpu_ms_per_query":9.5,"total_p50_ms":3.5,"total_p95_ms":7,"total_p99_ms":12.3,"total_quantiles_ms":[1,2,3]},
  {"mode":"mix","chunks_in_the_base":1000,"clients":8,"total_quantiles_ms":[1,2,9]}]},
{"workload":"peer","result":[
  {"peer":"alcove","version":"v1","documents":100,"cpu_seconds_per_document":0.004,"seconds_per_document":0.005,"query_p50_ms":8,"rss_bytes":100000000},
  {"peer":"alcove","version":"v1","documents":1000,"cpu_seconds_per_document":0.004},
  {"peer":"LightRAG","version":"1.5.7","documents":100,"cpu_seconds_per_document":0.2,"seconds_per_document":0.5,"query_p50_ms":400,"rss_bytes":300000000},
  {"peer":"LightRAG","version":"1.5.7","documents":700,"cut":true,"cpu_seconds_per_document":0.6}]},
{"workload":"ann","result":[{"kind":"text","vectors":1000,"mode":"own","recall_at_10":0.99,"searches_per_cpu_s":9000,"build_cpu_s":2,"bytes_per_vector":2200,
 "after_deletes":[{"percent":10,"recall_at_10":0.991,"deleted_found":0},{"percent":50,"recall_at_10":1,"deleted_found":3}]}]},
{"workload":"<script>alert(1)</script>","result":{"any":"<b>","n":{"x":1}}}]`

// A report is one well-formed page with a table of each result and its plots, asks
// for nothing from outside, and shows hostile text as text.
func TestReport_Page(t *testing.T) {
	ms, err := ReadMeasurements(strings.NewReader(measured))
	require.NoError(t, err)
	var page bytes.Buffer
	require.NoError(t, WriteReport(&page, ms))
	html := page.String()
	require.Equal(t, 4, strings.Count(html, "<svg"), "latencies, cost and question of peers, recall")
	require.Equal(t, 4, strings.Count(html, "<table>"))
	for _, outside := range []string{"<script", "src=", "href=", "url(", "@import", "http:", "https:"} {
		require.NotContains(t, html, outside)
	}
	require.Contains(t, html, "alcove bench query --clients 1,8 --data-only")
	require.Contains(t, html, "&lt;script&gt;")
	d := xml.NewDecoder(strings.NewReader(html))
	circles := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			circles++
		}
	}
	// Points: 6 of latencies, 4 of cost and 2 of questions that are not 0, 1 of recall;
	// and a key for each of the series: 2, 2, 2, 1.
	require.Equal(t, 6+4+2+1+2+2+2+1, circles)
}

// The tables of a README have a line for each row, and the ratios of the sizes that
// both servers reached.
func TestFigures(t *testing.T) {
	ms, err := ReadMeasurements(strings.NewReader(measured))
	require.NoError(t, err)
	text, err := Figures(ms[:3])
	require.NoError(t, err)
	require.Contains(t, text, "| mix | 1000 | 1 | 4.0 | 3.5 | 7.0 | 12 | 250 | 9.5 |\n")
	require.Contains(t, text, "| LightRAG over alcove | 100 | 100× | 50× | 50× / 0.00× | 3.0× | 0.00× | 0.00× |\n")
	require.Contains(t, text, "| LightRAG 1.5.7 | 700, still at work |")
	require.Contains(t, text, "| LightRAG over alcove | 700 | 0.00× | 150× |")
	require.Equal(t, 2, strings.Count(text, "over alcove"))
	require.Contains(t, text, "| text | 1000 | own | 0.9900 | 10: 0.9910, 50: 1.0000 | 3 | 9000 | 2.0 | 2200 |\n")
	_, err = Figures(ms)
	require.ErrorContains(t, err, `no figures of "<script>`)
}

// What is no result is refused, and says why.
func TestReadMeasurements_Faults(t *testing.T) {
	for in, want := range map[string]string{
		`{"rows":1}`: "workload and result are needed", `[`: "unexpected end", `{"workload":"query","result":7}`: "",
	} {
		ms, err := ReadMeasurements(strings.NewReader(in))
		if want != "" {
			require.ErrorContains(t, err, want)
			continue
		}
		require.NoError(t, err)
		require.ErrorContains(t, WriteReport(io.Discard, ms), "not made of objects")
	}
}
