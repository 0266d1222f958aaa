package main

import "math"

// Count is a figure that every machine gives alike, at least within its slack.
type Count struct {
	Name  string // subject.work.figure, such as tiny.decode.allocs
	What  string // in words, with its unit
	Value int64
	Slack slack
}

// slack is by how much a count may differ without having changed.
type slack struct {
	share float64 // of the value
	least int64
}

// The slacks. What follows from the code alone is exact. The runtime counts a
// few allocations of its own, of sizes that depend on its version; the linker
// packs a little differently from one version to the next; which worked
// examples a prompt shows can hang on the last bit of a similarity.
var (
	exact   = slack{}
	allocs  = slack{share: 0.05, least: 2}
	heap    = slack{share: 0.05, least: 512}
	linked  = slack{share: 0.01}
	nearest = slack{share: 0.02}
)

// of is the slack of a value, in its unit.
func (s slack) of(value int64) int64 {
	return max(s.least, int64(math.Ceil(s.share*float64(value))))
}
