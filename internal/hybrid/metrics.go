package hybrid

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"crayon/internal/route/calibrate"
	"crayon/internal/route/record"
)

// counts are what metrics tell, since the program began. The zero value is ready.
type counts struct {
	mu        sync.Mutex
	decisions map[[3]string]int64 // by customisation, route, reason
	degraded  int64
	shadows   map[string]int64 // by outcome
	agreement float64          // sum of the shadows'
	drift     map[string][]calibrate.Drift
}

func (c *counts) decided(e *record.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.decisions == nil {
		c.decisions = map[[3]string]int64{}
	}
	c.decisions[[3]string{e.Name, e.Route, e.Reason}]++
	if e.Degraded {
		c.degraded++
	}
}

func (c *counts) shadowed(e *record.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shadows == nil {
		c.shadows = map[string]int64{}
	}
	c.shadows[e.Outcome]++
	if e.Agreement != nil {
		c.agreement += *e.Agreement
	}
}

func (c *counts) drifts(name string, all []calibrate.Drift) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drift == nil {
		c.drift = map[string][]calibrate.Drift{}
	}
	c.drift[name] = all
}

// WriteMetrics writes what was decided since the program began, and whether it
// drifts, in the text format of Prometheus.
func (h *Hybrid) WriteMetrics(w io.Writer) error {
	c := &h.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	about := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	about("crayon_route_decisions_total", "counter", "Queries by who answered them and why.")
	for _, k := range sortedKeys(c.decisions, func(a, b [3]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]), cmp.Compare(a[2], b[2]))
	}) {
		fmt.Fprintf(&b, "crayon_route_decisions_total{customisation=%q,route=%q,reason=%q} %d\n", k[0], k[1], k[2], c.decisions[k])
	}
	about("crayon_route_degraded_total", "counter", "Queries that the device answered though the server should have.")
	fmt.Fprintf(&b, "crayon_route_degraded_total %d\n", c.degraded)
	about("crayon_route_shadows_total", "counter", "Queries that the server was asked after the device answered.")
	for _, k := range sortedKeys(c.shadows, cmp.Compare[string]) {
		fmt.Fprintf(&b, "crayon_route_shadows_total{outcome=%q} %d\n", k, c.shadows[k])
	}
	about("crayon_route_shadow_agreement_sum", "counter", "Sum of their agreement with the device's answers, 0 to 1 each.")
	fmt.Fprintf(&b, "crayon_route_shadow_agreement_sum %g\n", c.agreement)
	about("crayon_route_drift", "gauge", "1 where live queries have left the band of a calibration.")
	names := sortedKeys(c.drift, cmp.Compare[string])
	for _, name := range names {
		for _, d := range c.drift[name] {
			alarm := 0
			if d.Alarm {
				alarm = 1
			}
			fmt.Fprintf(&b, "crayon_route_drift{customisation=%q,of=%q} %d\n", name, d.Name, alarm)
		}
	}
	about("crayon_route_share", "gauge", "Share of live queries within what a band counts.")
	for _, name := range names {
		for _, d := range c.drift[name] {
			fmt.Fprintf(&b, "crayon_route_share{customisation=%q,of=%q} %g\n", name, d.Name, d.Share)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sortedKeys[K comparable, V any](m map[K]V, compare func(a, b K) int) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compare)
	return keys
}
