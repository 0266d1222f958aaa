package crayon

import "slices"

// Share is one adapter of a blend with what it covers.
type Share struct {
	Adapter string   `json:"adapter"`
	Weight  float32  `json:"weight"`
	Covers  []string `json:"covers,omitempty"` // data sets most of its training examples are from
	Shared  bool     `json:"shared,omitempty"` // the same weight for everyone
}

// Shares are the adapters that run for a customisation, the largest weight
// first and the shared ones last.
func Shares(p *Pool, custom *Customisation) []Share {
	covers := map[string][]string{}
	var shared []Share
	for _, m := range p.Members {
		covers[m.Name] = m.Covers
		if m.Shared && custom.Shared != 0 {
			shared = append(shared, Share{Adapter: m.Name, Weight: custom.Shared, Covers: m.Covers, Shared: true})
		}
	}
	var out []Share
	for _, w := range custom.Kept {
		out = append(out, Share{Adapter: w.Adapter, Weight: w.Weight, Covers: covers[w.Adapter]})
	}
	slices.SortStableFunc(out, func(a, b Share) int {
		switch {
		case a.Weight > b.Weight:
			return -1
		case a.Weight < b.Weight:
			return 1
		}
		return 0
	})
	return append(out, shared...)
}
