package calibrate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
	"crayon/internal/route/signal"
)

func TestClopperPearson(t *testing.T) {
	i := ClopperPearson(8, 10, 0.95) // the book's: 0.4439 to 0.9748
	require.InDelta(t, 0.4439, i.Low, 1e-4)
	require.InDelta(t, 0.9748, i.High, 1e-4)
	require.InDelta(t, 0.3085, ClopperPearson(0, 10, 0.95).High, 1e-4)
	require.Zero(t, ClopperPearson(0, 10, 0.95).Low)
	require.Equal(t, 1.0, ClopperPearson(10, 10, 0.95).High)
	m := MeanInterval([]float64{0.5, 0.5, 0.6, 0.4}, 0.95)
	require.True(t, m.Low < 0.5 && m.High > 0.5 && m.Low > 0.39 && m.High < 0.61)
}

// The threshold never sends more for a smaller share, and no more of its own
// rows than the share.
func TestShareThresholdProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gains := rapid.SliceOfN(rapid.Float64Range(-1, 1), 1, 60).Draw(t, "gains")
		a, b := rapid.Float64Range(0, 1).Draw(t, "a"), rapid.Float64Range(0, 1).Draw(t, "b")
		if a > b {
			a, b = b, a
		}
		ta, tb := ShareThreshold(gains, a), ShareThreshold(gains, b)
		require.GreaterOrEqual(t, ta, tb)
		sent := 0
		for _, g := range gains {
			if g > ta {
				sent++
			}
		}
		require.LessOrEqual(t, float64(sent), a*float64(len(gains)+1)+1e-6)
		require.Equal(t, ta, ShareThreshold(gains, a))
	})
	require.Equal(t, 2.0, ShareThreshold([]float64{0.1}, 0))
	require.Equal(t, -2.0, ShareThreshold([]float64{0.1}, 1))
}

// TestPromisesHold draws calibrations again and again: a share is met within
// what was asked in 95 of 100, and a quality that was shown is there.
func TestPromisesHold(t *testing.T) {
	draws := 40
	if testing.Short() {
		draws = 10
	}
	missed, below, made := 0, 0, 0
	for i := range draws {
		w := newWorld(uint64(100 + i))
		rows, unseen := plain(w.rows(400)), w.rows(2000)
		c, err := Make(rows, Ask{Promise: Share, Target: 0.3, Within: 0.1})
		require.NoError(t, err)
		sent, right := 0, 0.0
		for _, r := range unseen {
			if c.Sends(r.Row) {
				sent++
			}
		}
		if math.Abs(float64(sent)/2000-0.3) > 0.1 {
			missed++
		}
		c, err = Make(rows, Ask{Promise: Quality, Target: 0.52, Within: 0.08})
		if err != nil {
			require.ErrorIs(t, err, ErrNotKept)
			continue
		}
		made++
		for _, r := range unseen {
			if c.Sends(r.Row) {
				right += r.server
			} else {
				right += r.device
			}
		}
		if right/2000 < 0.52 {
			below++
		}
	}
	t.Logf("share missed %d of %d; quality below %d of %d made", missed, draws, below, made)
	require.LessOrEqual(t, float64(missed), 0.05*float64(draws)+2)
	require.Greater(t, made, draws/2)
	require.LessOrEqual(t, float64(below), 0.05*float64(made)+2)
}

// Where the signals say nothing at all, a share is kept all the same.
func TestShareWithoutSignal(t *testing.T) {
	missed := 0
	for i := range 20 {
		w := newWorld(uint64(300 + i))
		rows, unseen := plain(w.rows(120)), plain(w.rows(1000))
		for k := range rows {
			rows[k].Device, rows[k].Server = w.draw(0.5), w.draw(0.6)
		}
		c, err := Make(rows, Ask{Promise: Share, Target: 0.3, Within: 0.2})
		require.NoError(t, err)
		sent := 0.0
		for _, r := range unseen {
			if c.Sends(r) {
				sent++
			}
		}
		if math.Abs(sent/1000-0.3) > 0.15 {
			missed++
		}
	}
	require.LessOrEqual(t, missed, 2)
}

// TestPromisedShareAtScale is the benchmark's own: 2,200 rows, checked on 5,000.
func TestPromisedShareAtScale(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	w := newWorld(77)
	for _, share := range []float64{0.1, 0.3, 0.5} {
		c, err := Make(plain(w.rows(2200)), Ask{Promise: Share, Target: share, Within: 0.05, Check: plain(w.rows(5000))})
		require.NoError(t, err)
		require.Equal(t, []int{2200, 5000}, []int{c.Rule.FitRows, c.Rule.CheckRows})
		require.InDelta(t, share, c.Rule.Sent.Value, 0.03)
		require.True(t, c.Rule.Sent.Low < c.Rule.Sent.Value && c.Rule.Sent.High > c.Rule.Sent.Value)
	}
}

func TestMakeRefuses(t *testing.T) {
	w := newWorld(8)
	rows := plain(w.rows(300))
	for name, c := range map[string]struct {
		rows []Row
		ask  Ask
		is   error
		says string
		exit int
	}{
		"few rows":          {rows[:50], Ask{Promise: Share, Target: 0.3}, ErrTooFewRows, "needs 135", fault.ExitUsage},
		"few for a quality": {rows[:50], Ask{Promise: Quality, Target: 0.6}, ErrTooFewRows, "needs 163", fault.ExitUsage},
		"out of reach":      {rows, Ask{Promise: Quality, Target: 0.95, Within: 0.1}, ErrNotKept, "at best", fault.ExitRefused},
		"just out of reach": {rows, Ask{Promise: Quality, Target: 0.6, Within: 0.1}, ErrNotKept, "rows to show", fault.ExitRefused},
		"share above 1":     {rows, Ask{Promise: Share, Target: 1.2}, nil, "share of 1.2", fault.ExitUsage},
		"no price":          {rows, Ask{Promise: Cost, Target: 1}, nil, "price", fault.ExitUsage},
		"no promise":        {rows, Ask{}, nil, "promise", fault.ExitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Make(c.rows, c.ask)
			require.Error(t, err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.ErrorContains(t, err, c.says)
			require.Equal(t, c.exit, fault.Code(err))
			require.NotEmpty(t, fault.Hint(err))
		})
	}
	w.server = 0
	unknown := plain(w.rows(300))
	_, err := Make(unknown, Ask{Promise: Share, Target: 0.3})
	require.ErrorContains(t, err, "column server")
	c, err := Make(unknown, Ask{Promise: Share, Target: 0.3, Server: 0.7})
	require.NoError(t, err)
	require.True(t, c.Given)
	require.Equal(t, 0.7, c.Assumed)
	c, err = Make(unknown, Ask{Promise: Cost, Target: 1, Price: 0.01, PerDay: 500, Server: 0.7})
	require.NoError(t, err)
	require.InDelta(t, 0.2, c.Rule.Sent.Value, 0.1)
}

// A calibration is the same each time, and reads back as it decides.
func TestCalibrationIsDeterministicAndStored(t *testing.T) {
	w := newWorld(4)
	rows, unseen := plain(w.rows(600)), plain(w.rows(300))
	ask := Ask{Promise: Share, Target: 0.4, Now: time.Unix(1, 0)}
	c, err := Make(rows, ask)
	require.NoError(t, err)
	again, err := Make(rows, ask)
	require.NoError(t, err)
	data, err := c.Marshal()
	require.NoError(t, err)
	other, err := again.Marshal()
	require.NoError(t, err)
	require.Equal(t, string(data), string(other))
	back, err := Parse("mine", data)
	require.NoError(t, err)
	early, sent := 0, 0
	for _, r := range unseen {
		require.Equal(t, c.Sends(r), back.Sends(r))
		e := back.Estimate(r, false)
		require.InDelta(t, e.Server-e.Device, e.Gain, 1e-12)
		sum := e.Common
		for _, p := range e.Parts {
			sum += p.Logit
		}
		require.InDelta(t, e.Logit, sum, 1e-9, "the parts are the logit")
		if back.SendsEarly(r) {
			early++
			require.True(t, back.Sends(r))
			require.True(t, back.Estimate(r, true).Send)
		}
		if back.Sends(r) {
			sent++
		}
	}
	t.Logf("%d of 300 leave, %d of them undrafted", sent, early)
	for _, bad := range []string{"{}", `{"version":2}`, `{"version":1}`, "x", `{"version":1,"device":{}}`} {
		_, err := Parse("mine", []byte(bad))
		require.Error(t, err, bad)
		require.Equal(t, fault.ExitVerify, fault.Code(err))
	}
}

// A smaller promised share never sends a query that a larger one keeps.
func TestShareIsMonotone(t *testing.T) {
	w := newWorld(12)
	rows, unseen := plain(w.rows(500)), plain(w.rows(200))
	c, err := Make(rows, Ask{Promise: Share, Target: 0.3})
	require.NoError(t, err)
	for _, r := range unseen {
		was := true
		for _, t2 := range []float64{-0.5, 0, 0.2, 0.5} {
			now := c.At(t2).Sends(r)
			require.False(t, now && !was)
			was = now
		}
	}
}

// What lies outside the scope leaves whatever its gain, and counts to the share.
func TestScopeLeavesAnyway(t *testing.T) {
	w := newWorld(21)
	rows, unseen := plain(w.rows(800)), plain(w.rows(2000))
	scope := 0.06 // a tenth lies below
	for _, share := range []float64{0.1, 0.3} {
		c, err := Make(rows, Ask{Promise: Share, Target: share, Scope: &scope})
		require.NoError(t, err)
		sent, outside := 0.0, 0.0
		for _, r := range unseen {
			if c.Sends(r) {
				sent++
			}
			if r.Signals.Get("scope") < scope {
				outside++
				require.True(t, c.Sends(r))
			}
		}
		require.InDelta(t, share, sent/2000, 0.04)
		require.InDelta(t, 0.1, outside/2000, 0.03)
	}
	// A share below what lies outside cannot be kept.
	scope = 0.4
	_, err := Make(rows, Ask{Promise: Share, Target: 0.1, Within: 0.1, Scope: &scope})
	require.ErrorIs(t, err, ErrNotKept)
}

// A digest that differs makes it stale, whatever the others; one that is not
// known does not.
func TestStaleProperties(t *testing.T) {
	one := rapid.SampledFrom([]string{"", "a", "b"})
	rapid.Check(t, func(t *rapid.T) {
		was := Digests{Base: one.Draw(t, "base"), Adapter: one.Draw(t, "adapter"), Data: one.Draw(t, "data")}
		now := Digests{Base: one.Draw(t, "base now"), Adapter: one.Draw(t, "adapter now"), Data: one.Draw(t, "data now")}
		differ := 0
		for _, x := range [][2]string{{was.Base, now.Base}, {was.Adapter, now.Adapter}, {was.Data, now.Data}} {
			if x[0] != "" && x[1] != "" && x[0] != x[1] {
				differ++
			}
		}
		require.Len(t, was.Stale(now), differ)
	})
}

func TestStale(t *testing.T) {
	d := Digests{Base: "a", Adapter: "b", Data: "c"}
	require.Empty(t, d.Stale(d))
	require.Empty(t, d.Stale(Digests{Base: "a", Adapter: "b"}), "the file of rows may be gone")
	require.Equal(t, []string{"the model", "the customisation", "the data"}, d.Stale(Digests{Base: "x", Adapter: "y", Data: "z"}))
}

// TestDefault: learned from many users, it holds for pools that it names.
func TestDefault(t *testing.T) {
	w := world{rng: rand.New(rand.NewPCG(2, 9)), users: 30, noise: 0.5, server: 0.6, unlabels: 0.3}
	c, err := Make(plain(w.rows(1500)), Ask{Promise: Share, Target: 0.3, Whole: true})
	require.NoError(t, err)
	require.Empty(t, c.Device.Logistic.Users)
	require.InDelta(t, 0.3, c.Rule.Sent.Value, 0.02)
	require.Nil(t, c.Early, "a query before its draft lacks what the rows had")
	rows := plain(w.rows(20))
	require.NotEmpty(t, c.Needs)
	require.True(t, c.Covers(rows[0].Signals))
	for _, name := range c.Needs {
		v := slices.Clone(rows[0].Signals)
		v[signal.Place(name)] = math.NaN()
		require.False(t, c.Covers(v), name)
	}
	require.False(t, c.Covers(signal.None()))
	c.Digests = Digests{Pools: []string{"p"}, Lineage: "l"}
	require.True(t, c.For("p", "l"))
	require.False(t, c.For("q", "l"))
	require.False(t, c.For("p", "m"))
	none, err := Default("no such pool", "")
	require.NoError(t, err)
	require.Nil(t, none)
}

// BenchmarkEstimate is what a calibration takes a query, every signal measured.
func BenchmarkEstimate(b *testing.B) {
	w := newWorld(4)
	rows := plain(w.rows(600))
	for i := range rows {
		for k := range rows[i].Signals {
			if math.IsNaN(rows[i].Signals[k]) {
				rows[i].Signals[k] = w.rng.NormFloat64()
			}
		}
	}
	c, err := Make(rows, Ask{Promise: Share, Target: 0.3})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c.Estimate(rows[0], false)
	}
}

// TestFalseAlarms: within the band hardly any watch ever raises one; beyond it,
// soon.
func TestFalseAlarms(t *testing.T) {
	b := []Band{{Name: Sent, Low: 0.25, High: 0.35}}
	run := func(seed uint64, share float64, n int) (at int) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := NewWatch(b)
		for i := range n {
			if len(w.Add(Row{}, rng.Float64() < share)) > 0 {
				return i + 1
			}
		}
		return 0
	}
	false1, found, late := 0, 0, 0
	for s := range uint64(150) {
		if run(s, 0.35, 2000) > 0 || run(s+1000, 0.25, 2000) > 0 {
			false1++
		}
		if at := run(s, 0.6, 2000); at > 0 {
			found++
			late = max(late, at)
		}
	}
	require.LessOrEqual(t, false1, 3+3, "2 %% of 150 at both ends, and the luck of the draw")
	require.Equal(t, 150, found)
	require.Less(t, late, 300)
	t.Logf("false alarms %d of 150 at both ends; a share of 0.6 was found after at most %d queries", false1, late)
}

func TestWatchOfSignals(t *testing.T) {
	w := newWorld(4)
	c, err := Make(plain(w.rows(800)), Ask{Promise: Share, Target: 0.3})
	require.NoError(t, err)
	watch := NewWatch(c.Bands)
	for _, r := range w.rows(1000) {
		require.Empty(t, watch.Add(r.Row, c.Sends(r.Row)))
	}
	far := plain(w.rows(300))
	raised := map[string]bool{}
	for _, r := range far {
		r.Signals[0] = -0.2
		for _, d := range watch.Add(r, c.Sends(r)) {
			raised[d.Name] = true
			require.True(t, d.Alarm)
		}
	}
	require.True(t, raised["scope"])
	require.False(t, raised["mean_token"])
	require.Len(t, watch.Drifts(), len(c.Bands))
}
