package benchhybrid

import (
	"bytes"
	"cmp"
	"slices"

	"crayon/internal/qa"
)

// Names of the routers.
const (
	crayonRouter   = "crayon"
	randomRouter   = "random"
	maxProbability = "max_probability"
	scopeAlone     = "scope"
	taskMean       = "task_mean"
	learnedRouter  = "learned"
	earlyRouter    = "crayon_early"
	draftRouter    = "crayon_draft"
	oracleRouter   = "oracle"
	alwaysDevice   = "always_device"
	alwaysServer   = "always_server"
)

// routers are in the order of tables. Each gives every row a number, the largest
// of which are sent first, and those that have one the number by which they think
// the device right; nil where they cannot. fitted ones have numbers of several
// fits, one a fold.
var routers = []struct {
	name, about string
	score       func(b *bout) []float64
	device      func(b *bout) []float64
	fitted      bool
}{
	{crayonRouter, "the product's gain: probability that the server is right less that of the device",
		func(b *bout) []float64 { return difference(b.pServer, b.pDevice) }, func(b *bout) []float64 { return b.pDevice }, true},
	{earlyRouter, "the same by what is known before a draft",
		func(b *bout) []float64 { return difference(b.earlyServer, b.earlyDevice) }, func(b *bout) []float64 { return b.earlyDevice }, true},
	{draftRouter, "the same by the draft's tokens, without probabilities of choices",
		func(b *bout) []float64 { return difference(b.draftServer, b.draftDevice) }, func(b *bout) []float64 { return b.draftDevice }, true},
	{learnedRouter, "logistic regression on the query's feature, the device's confidence and the user",
		func(b *bout) []float64 { return difference(b.rivalServer, b.rivalDevice) }, func(b *bout) []float64 { return b.rivalDevice }, true},
	{maxProbability, "the device's least probable choices first",
		func(b *bout) []float64 { return negated(b.signal("choice_top")) }, func(b *bout) []float64 { return b.signal("choice_top") }, false},
	{scopeAlone, "the queries least like the user's examples first",
		func(b *bout) []float64 { return negated(b.signal("scope")) }, func(b *bout) []float64 { return b.signal("scope") }, false},
	{taskMean, "the query's task alone, which it is told",
		func(b *bout) []float64 { return difference(b.taskServer, b.taskDevice) }, func(b *bout) []float64 { return b.taskDevice }, true},
	{randomRouter, "any", func(b *bout) []float64 { return make([]float64, len(b.rows)) }, nil, false},
	{oracleRouter, "knows who is right: drawn, not a target", func(b *bout) []float64 { return difference(b.server, b.device) }, nil, false},
}

// bout is one way the device answers against one server, with what fits say.
type bout struct {
	rows                     []Row
	device, server           []float64 // outcomes
	pDevice, pServer         []float64
	earlyDevice, earlyServer []float64
	draftDevice, draftServer []float64
	rivalDevice, rivalServer []float64
	taskDevice, taskServer   []float64
	toldDevice, toldServer   []float64
	folds                    []int // of the fits; nil: one fit for all
	bare                     bool

	own     []float64            // 1 for a row of the user's own task
	signals map[string][]float64 // looked up
	ranks   map[string]rank
}

// signal of every row, as the bout's device has it.
func (b *bout) signal(name string) []float64 {
	out := make([]float64, len(b.rows))
	for i := range b.rows {
		v := b.rows[i].Signals
		if b.bare && name != scopeAlone {
			v = b.rows[i].Bare
		}
		out[i] = v.Get(name)
	}
	return out
}

// order is the rows, those sent first first; of equal ones a draw decides, which
// is each row's own. nil for a router that has no numbers.
func (b *bout) order(score []float64, seed uint64) []int {
	if score == nil {
		return nil
	}
	lots := make([][32]byte, len(score))
	out := make([]int, len(score))
	for i := range score {
		lots[i] = qa.Hash(seed, "lot", b.rows[i].User, b.rows[i].Dataset, b.rows[i].ID)
		out[i] = i
	}
	slices.SortStableFunc(out, func(i, j int) int {
		if c := cmp.Compare(score[j], score[i]); c != 0 {
			return c
		}
		return bytes.Compare(lots[i][:], lots[j][:])
	})
	return out
}

// fairly is an order in which each fold's rows lie evenly, in the order they have
// among themselves: numbers of two fits do not compare. (A fit's level of a user
// is low for having left out rows that are right, so the order of all numbers
// would rank a user's rows upside down.)
func (b *bout) fairly(order []int) []int {
	if order == nil || b.folds == nil {
		return order
	}
	place := make([]float64, len(order))
	strata := b.strata(order)
	for _, s := range strata {
		for k, i := range s {
			place[i] = (float64(k) + 0.5) / float64(len(s))
		}
	}
	out := slices.Clone(order)
	slices.SortStableFunc(out, func(i, j int) int { return cmp.Compare(place[i], place[j]) })
	return out
}

// strata splits an order by fold.
func (b *bout) strata(order []int) [][]int {
	if b.folds == nil {
		return [][]int{order}
	}
	at := make([]int, len(order))
	for k, i := range order {
		at[k] = b.folds[i]
	}
	return split(order, at, slices.Max(b.folds)+1)
}

func difference(a, b []float64) []float64 {
	if a == nil || b == nil {
		return nil
	}
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] - b[i]
	}
	return out
}

func negated(x []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = -x[i]
	}
	return out
}

// constant is a probability that says nothing of its row.
func constant(p float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = p
	}
	return out
}
