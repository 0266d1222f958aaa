package benchhybrid

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/bench"
	"crayon/internal/qa"
	"crayon/internal/route/calibrate"
	"crayon/internal/route/signal"
)

// known are rows whose device is right with the probability its choice_top says,
// and whose server is right 0.6 of the time, whatever the query.
func known(users, each int) []Row {
	rng := rand.New(rand.NewPCG(3, 4))
	var rows []Row
	for u := range users {
		for i := range each {
			r := Row{User: fmt.Sprintf("user %d (seen)", u), Set: fmt.Sprint("set ", u%5), Kin: fmt.Sprint("family ", u%5), Group: bench.Seen,
				Own: i%10 < 7, ID: fmt.Sprint(i), Choices: 2, Picks: map[string]int{}, Server: map[string]int{}, Signals: signal.None(), Bare: signal.None(),
				Seconds: map[string]float64{Custom: 0.1}, Costs: map[string]Cost{"0": {1, 100, 1}}}
			r.Dataset, r.Family = r.Set, r.Kin
			if !r.Own {
				r.Dataset, r.Family = fmt.Sprint("set ", (u+1)%5), fmt.Sprint("family ", (u+1)%5)
			}
			logit := 1.5 * rng.NormFloat64()
			p := 1 / (1 + math.Exp(-logit))
			r.Signals[signal.Place("choice_top")] = round(logit)
			r.Bare[signal.Place("choice_top")] = round(rng.NormFloat64())
			scope := 0.2 + 0.1*rng.Float64()
			if r.Own {
				scope += 0.2
			}
			r.Signals[signal.Place("scope")] = round(scope)
			pick := func(right bool) int {
				if right {
					return 0
				}
				return 1
			}
			r.Picks[Custom], r.Picks[Base] = pick(rng.Float64() < p), pick(rng.Float64() < 0.4)
			r.Server["letter0"], r.Server["letter5"] = pick(rng.Float64() < 0.6), unparsable
			r.Hidden = packed([]float32{float32(rng.NormFloat64()), float32(rng.NormFloat64()), 1})
			rows = append(rows, r)
		}
	}
	return rows
}

// Where nothing tells who is right, no router does: not by having seen a query
// when another user asked it, and no user's rows are ranked upside down because a
// level fitted to the others of its rows is low where those left out are right.
func TestNothingIsLearnedFromNothing(t *testing.T) {
	rows := known(30, 40)
	for i := range rows {
		r := &rows[i]
		r.ID = fmt.Sprint(i/400, " ", r.ID) // two users ask it
		rng := rand.New(rand.NewChaCha8(qa.Hash(5, r.Dataset, r.ID)))
		hidden := make([]float32, 96) // enough to know each query again
		for k := range hidden {
			hidden[k] = float32(rng.NormFloat64())
		}
		r.Hidden = packed(hidden)
		for _, name := range []string{"choice_top", "scope"} {
			r.Signals[signal.Place(name)] = round(rng.NormFloat64())
		}
		r.Picks[Custom], r.Picks[Base], r.Server["letter0"] = rng.IntN(2), rng.IntN(2), rng.IntN(2)
	}
	f, err := Judge(t.Context(), rows, JudgeOptions{Seed: 1, Resamples: 100})
	require.NoError(t, err)
	for _, name := range []string{crayonRouter, learnedRouter} {
		require.InDelta(t, 0.5, *f.Ranks[name].Within, 0.06, name)
		require.InDelta(t, 0.5, *f.Ranks[name].AUROC, 0.08, name)
		require.Less(t, f.Area[name].Low, 0.005, name)
		require.Greater(t, f.Area[name].High, -0.005, name)
	}
	require.InDelta(t, 0, *f.BrierSkill, 0.05)
}

func TestKnownTruthsAreRecovered(t *testing.T) {
	rows := known(15, 40)
	o := JudgeOptions{Seed: 1, Resamples: 200, Splits: 2, PriceIn: 1, PriceOut: 2}
	f, err := Judge(t.Context(), rows, o)
	require.NoError(t, err)
	require.Equal(t, 600, f.Rows)
	require.Equal(t, 15, f.Users)
	require.Equal(t, "letter0", f.Asked)
	require.InDelta(t, 1, f.Servers["letter5"].Unparsable, 1e-9)
	require.InDelta(t, 0.3, f.Strange, 1e-9)
	var logits, right []float64
	for i := range rows {
		logits, right = append(logits, rows[i].Signals.Get("choice_top")), append(right, rows[i].right(rows[i].Picks[Custom]))
	}
	truth := calibrate.AUROC(logits, right)
	require.InDelta(t, truth, *f.ConfidenceAUROC, 1e-6, "the device's own confidence is the probability itself")
	require.InDelta(t, truth, *f.AUROC, 0.06, "the model finds it")
	require.InDelta(t, 1, *f.Scope, 1e-9, "scope tells every row")
	require.Less(t, *f.ECE, 0.12)
	require.Greater(t, *f.BrierSkill, 0.05)
	random := f.Area[randomRouter]
	require.Less(t, random.Low, 0.0)
	require.Greater(t, random.High, 0.0)
	require.Positive(t, f.Area[maxProbability].Low, "what tells the device's errors is worth more than chance")
	require.Positive(t, f.Area[crayonRouter].Low)
	require.Greater(t, f.Area[oracleRouter].Value, f.Area[crayonRouter].Value)
	require.InDelta(t, f.Area[crayonRouter].Value-f.Area[learnedRouter].Value, f.AreaOver[learnedRouter].Value, 2e-6)
	require.InDelta(t, f.Device, f.Curves[crayonRouter][0], 1e-9)
	require.InDelta(t, f.Server, f.Curves[crayonRouter][20], 1e-9)
	require.Len(t, f.Curves[crayonRouter], 21)
	require.InDelta(t, f.Either, slices.Max(f.Curves[oracleRouter]), 2e-6)
	require.NotNil(t, f.WinnableShare["0.3"])
	for _, share := range []string{"0.3", "0.5"} {
		require.InDelta(t, 1, *f.Won[share], 0.4, "what tells the errors is as good as being told the task")
		require.Contains(t, f.Intervals, "won "+share)
	}
	require.NotNil(t, f.GainOverRandom["0.5"])
	require.Equal(t, 420, f.Parts["own"].Rows)
	require.InDelta(t, 0.3, 0.7*f.Parts["own"].Sent["0.3"]+0.3*f.Parts["other"].Sent["0.3"], 2e-3)
	require.InDelta(t, 0.9, f.Simulated["0.9"].Server, 0.04)
	require.NotNil(t, f.Bare.AUROC)
	require.InDelta(t, 0.5, *f.Bare.AUROC, 0.1, "the bare device's confidence says nothing")
	require.NotNil(t, f.Transfer.AUROC)
	require.InDelta(t, truth, *f.Transfer.AUROC, 0.06)
	require.Equal(t, f.Rows, f.Better.Rows+f.Worse.Rows)
	require.InDelta(t, 0.1+0.3, f.Latency.Seconds["0.3"], 1e-9)
	require.InDelta(t, 0.3*102e-6, f.Latency.Cost["0.3"], 1e-12)
	require.NotEmpty(t, f.Promises)
	require.Equal(t, calibrate.Share, f.Promises[0].What)
	require.Equal(t, 183, f.Promises[0].Calibrated)
	require.Len(t, f.Targets, 9+len(f.Promises))
	require.Equal(t, f.Intervals["auroc"].Low, *f.Targets[1].Low)
	require.InDelta(t, truth, *f.Ranks[maxProbability].AUROC, 1e-6)
	require.InDelta(t, *f.AUROCWithin, *f.Ranks[crayonRouter].Within, 1e-9)
	require.NotNil(t, f.Ranks[learnedRouter].AUROC)
	require.NotContains(t, f.Ranks, randomRouter)
	whole, own, other := f.Sides[0], f.Sides[1], f.Sides[2]
	require.Equal(t, []string{"", ownPart, otherPart}, []string{whole.Part, own.Part, other.Part})
	require.InDelta(t, f.Bare.Device, whole.Bare, 1e-9)
	require.InDelta(t, f.Parts[otherPart].Server, other.Server, 1e-9)
	require.InDelta(t, whole.Device, 0.7*own.Device+0.3*other.Device, 1e-5)
	require.Len(t, f.Sides, 6, "all users, and those seen")

	again := append([]Row(nil), rows...)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
	r := &Report{Benchmark: Kind, Figures: *f, Digests: map[string]string{}, Notes: []string{}}
	dir := t.TempDir()
	out, raw := filepath.Join(dir, "r.json"), filepath.Join(dir, "raw", "r.jsonl.gz")
	require.NoError(t, r.Keep(raw, out, again))
	data, err := json.Marshal(r)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(out, data, 0o644))
	require.True(t, IsReport(out))
	read, kept, err := ReadReport(out)
	require.NoError(t, err)
	require.NoError(t, read.Verify(t.Context(), kept), "whatever the order of the rows")
	read.Area[crayonRouter].Low = 0
	require.ErrorContains(t, read.Verify(t.Context(), kept), "area.crayon.low")
	var top map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(data, &top))
	for _, key := range []string{"auroc", "auroc_within_user", "scope_auroc", "ece", "brier_skill", "gain_over_random", "winnable_share", "area", "digests", "raw"} {
		require.Contains(t, top, key)
	}
	var page, text, picture, export bytes.Buffer
	require.NoError(t, r.WriteHTML(&page))
	require.Contains(t, page.String(), "SIMULATED server, 0.75")
	require.NoError(t, r.WriteText(&text))
	require.Contains(t, text.String(), "max_probability")
	var md, sides bytes.Buffer
	require.NoError(t, r.WriteMarkdown(&md))
	require.NoError(t, r.WriteSides(&sides))
	for _, s := range []string{"| figure | to reach |", "| SIMULATED server, 0.9 |", "| at most 0.03 |", "600 queries of 15 users", "| learned |"} {
		require.Contains(t, md.String(), s)
	}
	for _, s := range []string{"| all | of other families | 15 | 180 |", "| letter0 |", "| set 3 | 120 |"} {
		require.Contains(t, sides.String(), s)
	}
	require.NoError(t, r.WritePlot(&picture, "svg"))
	require.Error(t, r.WritePlot(&picture, "gif"))
	d, err := Decide(t.Context(), rows, f, 0.25)
	require.NoError(t, err)
	require.NoError(t, WriteArena(&export, d, nil, "small", "large"))
	var predictions []map[string]any
	require.NoError(t, json.Unmarshal(export.Bytes(), &predictions))
	sent := 0
	for _, p := range predictions {
		if p["prediction"] == "large" {
			sent++
		}
	}
	require.Equal(t, 150, sent)
	var bench bytes.Buffer
	require.NoError(t, WriteRouterBench(&bench, d, nil, "small", "large", false))
	lines, err := csv.NewReader(&bench).ReadAll()
	require.NoError(t, err)
	require.Len(t, lines, 601)
	to, scored := map[string]int{}, 0.0
	for _, line := range lines[1:] {
		to[line[10]]++
		score, err := strconv.ParseFloat(line[slices.Index(lines[0], line[10])], 64)
		require.NoError(t, err)
		scored += score
	}
	require.Equal(t, map[string]int{"small": 450, "large": 150}, to)
	require.InDelta(t, f.Curves[crayonRouter][5], scored/600, 1e-6, "what the table says of the router is what the report says")
	_, err = Decide(t.Context(), rows, f, 1.5)
	require.ErrorContains(t, err, "a share of 1.5")
}

func TestWalkByHand(t *testing.T) {
	device, server := []float64{1, 0, 0, 1}, []float64{1, 1, 0, 0}
	w := walked([]int{1, 0, 2, 3}, device, server, nil, []float64{0, 0.25, 0.5, 1})
	require.InDeltaSlice(t, []float64{0.5, 0.75, 0.75, 0.5}, w.at, 1e-12)
	require.InDelta(t, (0.125+0.25+0.25+0.125)/4, w.area, 1e-12)
	// A row drawn twice, another not at all.
	w = walked([]int{1, 0, 2, 3}, device, server, []int{1, 2, 1, 0}, []float64{0.25, 0.5})
	require.InDeltaSlice(t, []float64{0.5, 0.75}, w.at, 1e-12)
	score := []float64{0.9, 0.2, 0.9, 0.4}
	require.InDelta(t, 0.625, auroc([][]int{{0, 2, 3, 1}}, score, []float64{1, 0, 0, 1}, nil), 1e-12)
	require.True(t, math.IsNaN(auroc([][]int{{0, 1}}, []float64{1, 2}, []float64{1, 1}, nil)))
}

func TestRowsThatAreNone(t *testing.T) {
	rows := known(1, 3)
	for name, spoil := range map[string]func(r *Row){
		"no answer":  func(r *Row) { r.Answer = 2 },
		"no pick":    func(r *Row) { delete(r.Picks, Custom) },
		"a far pick": func(r *Row) { r.Server["letter0"] = 2 },
		"a feature":  func(r *Row) { r.Hidden = "?" },
	} {
		bad := rows[0]
		bad.Picks = map[string]int{Custom: 0, Base: 0}
		spoil(&bad)
		var b bytes.Buffer
		require.NoError(t, WriteRows(&b, []Row{bad}))
		_, err := ReadRows("x", &b)
		require.Error(t, err, name)
		rows = known(1, 3)
	}
	var none bytes.Buffer
	require.NoError(t, WriteRows(&none, nil))
	_, err := ReadRows("x", &none)
	require.ErrorContains(t, err, "no row")
	for i := range rows {
		rows[i].Server = nil
	}
	_, err = Judge(t.Context(), rows, DefaultJudge())
	require.ErrorContains(t, err, "answered no row")
	// Too few to learn from: what can be told is.
	f, err := Judge(t.Context(), known(1, 6), JudgeOptions{Seed: 1, Resamples: 20})
	require.NoError(t, err)
	require.Nil(t, f.AUROC)
	require.NotEmpty(t, f.Missing)
	require.NotNil(t, f.Area[maxProbability])
	stopped, stop := context.WithCancel(t.Context())
	stop()
	_, err = Judge(stopped, known(4, 30), JudgeOptions{Seed: 1, Resamples: 20})
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzReadRows(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, WriteRows(&b, known(1, 2)))
	f.Add(b.Bytes())
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := ReadRows("x", bytes.NewReader(data))
		if err == nil {
			require.NotEmpty(t, rows)
		}
	})
}

func TestLetters(t *testing.T) {
	for text, want := range map[string]int{"A": 0, "(B) it is": 1, "**C**": 2, " b": -1, "Because": -1, "D": -1, "": -1, "1": -1, "A1": -1, "Aé": -1, "The answer is B": -1} {
		require.Equal(t, want, firstLetter(text, 3), text)
	}
	require.Equal(t, 1, likeliestLetter([]Likely{{"The", -0.1}, {" B", -1}, {"A", -1.5}, {"D", -0.5}}, 3))
	require.Equal(t, unparsable, likeliestLetter([]Likely{{"The", -0.1}}, 3))
}
