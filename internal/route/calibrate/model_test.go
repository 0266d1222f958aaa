package calibrate

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/route/signal"
)

// TestCalibrationError: on rows drawn from known probabilities, what a model says
// is within 0.03 of the truth in the mean of bins, and it ranks nearly as well.
func TestCalibrationError(t *testing.T) {
	for _, c := range []struct {
		name  string
		world world
	}{
		{"one user", newWorld(1)},
		{"users that differ", world{rng: rand.New(rand.NewPCG(2, 9)), users: 40, noise: 0.7, server: 0.6, unlabels: 0.3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := c.world.rows(9000)
			f, err := FitModel(plain(all[:3000]), device, Options{})
			require.NoError(t, err)
			var p, y, truth []float64
			for _, r := range all[3000:] {
				p, y, truth = append(p, f.P(r.Row)), append(y, r.Row.Device), append(truth, r.device)
			}
			require.Less(t, ECE(p, truth, 15), 0.03)
			require.InDelta(t, AUROC(truth, y), AUROC(p, y), 0.02)
			require.InDelta(t, f.Fit.AUROC, AUROC(p, y), 0.05)
			t.Logf("calibration error %.4f, AUROC %.3f of %.3f", ECE(p, truth, 15), AUROC(p, y), AUROC(truth, y))
		})
	}
}

// Levels are shrunk: a user with few rows hardly differs from all, one with many
// keeps what its rows say.
func TestLevelsAreShrunk(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var rows []Row
	add := func(user string, n int, p float64) {
		for range n {
			y := 0.0
			if rng.Float64() < p {
				y = 1
			}
			rows = append(rows, Row{User: user, Signals: signal.None(), Device: y, Server: math.NaN()})
		}
	}
	for i := range 20 {
		add(string(rune('a'+i)), 100, sigmoid(rng.NormFloat64()))
	}
	add("many", 400, 0.9)
	add("few", 3, 0.999)
	f, err := FitModel(rows, device, Options{})
	require.NoError(t, err)
	many, few := f.Logistic.Users["many"], f.Logistic.Users["few"]
	require.Greater(t, many, 1.0)
	require.Less(t, few, many)
	require.Greater(t, few, 0.0)
	require.InDelta(t, 0.9, f.P(Row{User: "many", Signals: signal.None()}), 0.05)
	require.InDelta(t, 0.5, f.P(Row{User: "stranger", Signals: signal.None()}), 0.15)
}

// A prior helps where a user has few rows, and gives way where there are many
// that say otherwise.
func TestPrior(t *testing.T) {
	w := newWorld(5)
	w.users, w.noise = 30, 0.5
	prior, err := FitModel(plain(w.rows(3000)), device, Options{})
	require.NoError(t, err)
	other := newWorld(6)
	few, test := plain(other.rows(80)), other.rows(3000)
	loss := func(m *Model) float64 {
		var p, y []float64
		for _, r := range test {
			p, y = append(p, m.P(r.Row)), append(y, r.device)
		}
		return LogLoss(p, y)
	}
	alone, err := FitModel(few, device, Options{})
	require.NoError(t, err)
	helped, err := FitModel(few, device, Options{Prior: prior.Model})
	require.NoError(t, err)
	require.Less(t, loss(helped.Model), loss(alone.Model))

	// Answers turned about: the prior is all wrong.
	turned := plain(other.rows(2000))
	for i := range turned {
		turned[i].Device = 1 - turned[i].Device
	}
	f, err := FitModel(turned, device, Options{Prior: prior.Model})
	require.NoError(t, err)
	require.Greater(t, f.Fit.AUROC, 0.6)
}

// What a row's own group says does not reach its probability, and ranking by the
// gain beats sending at random.
func TestCrossFit(t *testing.T) {
	w := newWorld(9)
	w.users = 30
	ts := w.rows(2000)
	rows := plain(ts)
	c, err := CrossFit(rows, Options{})
	require.NoError(t, err)
	turned := slices.Clone(rows)
	for i := range turned {
		if turned[i].Group == "g3" {
			turned[i].Device = 1 - turned[i].Device
		}
	}
	// With the penalty fixed by the other folds as it was, a fold's own outcomes
	// only reach its curve through the others.
	other, err := CrossFit(turned, Options{})
	require.NoError(t, err)
	var a, b []float64
	for i := range rows {
		if rows[i].Group == "g3" {
			a, b = append(a, c.Device[i]), append(b, other.Device[i])
		}
	}
	for i := range a {
		require.InDelta(t, a[i], b[i], 0.1)
	}
	var d, s []float64
	for _, r := range ts {
		d, s = append(d, r.device), append(s, r.server)
	}
	require.Greater(t, AreaOverRandom(Frontier(c.Gain, d, s, 100)), 0.02)
}

func TestModelRefuses(t *testing.T) {
	rows := plain(newWorld(1).rows(60))
	one := slices.Clone(rows)
	for i := range one {
		one[i].Device = 1
	}
	_, err := FitModel(one, device, Options{})
	require.ErrorIs(t, err, ErrOneClass)
	_, err = FitModel(rows[:10], device, Options{})
	require.ErrorIs(t, err, ErrTooFewRows)
	_, err = FitModel(nil, device, Options{})
	require.ErrorIs(t, err, ErrTooFewRows)
}

func TestCurveProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 400).Draw(t, "n")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 4))
		x, y := make([]float64, n), make([]float64, n)
		slope := rapid.Float64Range(-3, 3).Draw(t, "slope")
		for i := range x {
			x[i] = math.Round(rng.NormFloat64()*20) / 10
			if rng.Float64() < sigmoid(slope*x[i]) {
				y[i] = 1
			}
		}
		for _, c := range []Curve{platt(x, y), isotonic(x, y)} {
			require.NoError(t, c.check())
			last := -1.0
			for z := -30.0; z <= 30; z += 0.25 {
				p := c.At(z)
				require.True(t, p >= 0 && p <= 1)
				require.GreaterOrEqual(t, p, last)
				last = p
			}
		}
	})
}

// Isotonic blocks are the answer of the definition on a small case.
func TestIsotonicIsMonotoneMean(t *testing.T) {
	var x, y []float64
	for b, right := range []int{2, 5, 4, 9} { // the second and third violate
		for i := range 10 {
			x = append(x, float64(b))
			if i < right {
				y = append(y, 1)
			} else {
				y = append(y, 0)
			}
		}
	}
	c := isotonic(x, y)
	require.Len(t, c.X, 3)
	require.InDeltaSlice(t, []float64{0, 1.5, 3}, c.X, 1e-9)
	require.InDeltaSlice(t, []float64{2.5 / 11, 9.5 / 21, 9.5 / 11}, c.Y, 1e-9)
}

func TestMeasures(t *testing.T) {
	require.InDelta(t, 1, AUROC([]float64{1, 2, 3}, []float64{0, 1, 1}), 1e-12)
	require.InDelta(t, 0.5, AUROC([]float64{1, 1}, []float64{0, 1}), 1e-12)
	require.InDelta(t, 0.25, AUROC([]float64{3, 1, 2}, []float64{0, 1, 0.5}), 0.2)
	require.True(t, math.IsNaN(AUROC([]float64{1}, []float64{1})))
	m, n := WithinUser([]float64{1, 2, 5, 4}, []float64{0, 1, 0, 1}, []string{"a", "a", "b", "b"}, 1)
	require.Equal(t, 2, n)
	require.InDelta(t, 0.5, m, 1e-12)
	require.InDelta(t, 0.1, ECE([]float64{0.4, 0.4, 0.4, 0.4}, []float64{1, 0, 1, 0}, 1), 1e-12)
	require.InDelta(t, 1, BrierSkill([]float64{0, 1}, []float64{0, 1}, []string{"a", "a"}), 1e-12)
	require.Zero(t, BrierSkill([]float64{0.5, 1}, []float64{0, 1}, []string{"a", "b"}))

	// Sending the rows where the server alone is right first is better than random.
	device, server := []float64{1, 1, 0, 0}, []float64{0, 1, 1, 1}
	f := Frontier([]float64{-1, 0, 0.5, 1}, device, server, 4)
	require.Equal(t, []float64{0.5, 0.75, 1, 1, 0.75}, []float64{f[0].Quality, f[1].Quality, f[2].Quality, f[3].Quality, f[4].Quality})
	require.Greater(t, AreaOverRandom(f), 0.0)
	for i, p := range f { // a threshold sends what the point says
		sent := 0
		for _, g := range []float64{-1, 0, 0.5, 1} {
			if g > p.Threshold {
				sent++
			}
		}
		require.Equal(t, i, sent)
	}
}

func TestRowsAreReadAsWritten(t *testing.T) {
	rows := plain(newWorld(1).rows(20))
	rows[3].Device, rows[4].Server = math.NaN(), 0.5
	var b bytes.Buffer
	require.NoError(t, WriteRows(&b, rows))
	text := b.String()
	back, err := ReadRows("rows", &b)
	require.NoError(t, err)
	var again bytes.Buffer
	require.NoError(t, WriteRows(&again, back))
	require.Equal(t, text, again.String())
	for _, bad := range []string{"", "x", `{"device": 2}`, `{"signals": 3}`} {
		_, err := ReadRows("rows", bytes.NewBufferString(bad))
		require.Error(t, err, bad)
	}
}

func FuzzReadRows(f *testing.F) {
	f.Add([]byte(`{"user":"a","signals":{"scope":0.5},"device":1,"server":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			t.Skip()
		}
		rows, err := ReadRows("fuzz", bytes.NewReader(data))
		if err == nil {
			require.NoError(t, WriteRows(new(bytes.Buffer), rows))
		}
	})
}

func FuzzParse(f *testing.F) {
	c, err := Make(plain(newWorld(1).rows(200)), Ask{Promise: Share, Target: 0.3, Within: 0.15})
	if err != nil {
		f.Fatal(err)
	}
	data, err := c.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1,"device":{"logistic":{"terms":[{"signal":"scope","deviation":1}]},"curve":{"a":1}}}`))
	row := newWorld(2).rows(1)[0].Row
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz", data)
		if err != nil {
			return
		}
		e := c.Estimate(row, false)
		if !(e.Device >= 0 && e.Device <= 1 && e.Server >= -1e-9 && e.Server <= 1+1e-9) {
			t.Fatalf("%+v", e)
		}
		c.Estimate(row, true)
		if _, err := json.Marshal(c); err != nil {
			t.Fatal(err)
		}
	})
}

// Levels of users, each fitted without the rows it is asked about, say nothing of
// chance outcomes, and are not told to say the contrary.
func TestLevelsOfChance(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	var rows []Row
	for i := range 600 {
		rows = append(rows, Row{User: strconv.Itoa(i % 20), Signals: signal.None(), Device: float64(rng.IntN(2))})
	}
	m, err := FitModel(rows, func(r Row) float64 { return r.Device }, Options{Signals: []string{}})
	require.NoError(t, err)
	require.InDelta(t, 0.5, m.Fit.AUROC, 0.05)
}
