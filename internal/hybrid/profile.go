package hybrid

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"crayon/internal/customize"
	"crayon/internal/pool"
	"crayon/internal/route"
	"crayon/internal/route/calibrate"
	"crayon/internal/route/record"
	"crayon/internal/route/signal"
)

// profile is what signals and decisions need of a customisation, made once.
type profile struct {
	examples [][]float32
	own      []float64
	blend    []float32
	answers  []int
	digest   string

	proofRows  int
	proofRight float64
	judge      *judge // nil: not looked for yet; changed under the hybrid's mu
}

// judge is a customisation's calibration as it was stored at a time. It does not
// change, but for the watch, which is the hybrid's mu's.
type judge struct {
	changed     time.Time // of the file; zero: there was none
	calibration *calibrate.Calibration
	which, id   string
	stale       []string
	watch       *calibrate.Watch // nil: nothing is watched
}

const (
	mostProfiles = 64
	mostOwn      = 512 // examples whose scopes are compared with each other
)

// profile of a customisation, with its calibration as it is stored now.
func (h *Hybrid) profile(c *customize.Customisation) (*profile, *judge, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.profiles[c]
	if p == nil {
		var err error
		if p, err = h.makeProfile(c); err != nil {
			return nil, nil, err
		}
		if h.profiles == nil || len(h.profiles) >= mostProfiles {
			h.profiles = map[*customize.Customisation]*profile{}
		}
		h.profiles[c] = p
	}
	err := h.calibrated(c, p)
	return p, p.judge, err
}

func (h *Hybrid) makeProfile(c *customize.Customisation) (*profile, error) {
	p := &profile{}
	for _, e := range c.Examples {
		p.examples = append(p.examples, e.Direction)
		if len(c.Labels) > 0 {
			answer := -1
			if e.Labelled {
				answer = slices.Index(c.Labels, e.Answer)
			}
			p.answers = append(p.answers, answer)
		}
	}
	few := p.examples
	if n := len(few); n > mostOwn {
		few = make([][]float32, mostOwn)
		for i := range few {
			few[i] = p.examples[i*n/mostOwn]
		}
	}
	p.own = signal.OwnScopes(few)
	weights := map[string]float32{}
	for _, w := range c.Weights {
		weights[w.Adapter] = w.Weight
	}
	d, err := c.On(h.Device)
	if err != nil {
		return nil, err
	}
	in := d.Pool
	for _, i := range in.Blended() {
		p.blend = append(p.blend, weights[in.Members[i].Name])
	}
	p.blend = pool.KeepTop(p.blend, c.Keep)
	if c.Proof != nil {
		p.proofRows, p.proofRight = c.Proof.Rows, c.Proof.Accuracy[cmp.Or(c.Proof.Strategy, "blend")]*float64(c.Proof.Rows)
	}
	p.digest, err = c.Digest()
	return p, err
}

// calibrated reads the customisation's calibration if its file is another than
// it was. The caller holds mu.
func (h *Hybrid) calibrated(c *customize.Customisation, p *profile) error {
	var changed time.Time
	if h.Records != nil {
		info, err := os.Stat(h.Records.CalibrationPath(c.Name))
		switch {
		case err == nil:
			changed = info.ModTime()
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if p.judge != nil && changed.Equal(p.judge.changed) {
		return nil
	}
	j := &judge{changed: changed}
	if !changed.IsZero() {
		own, id, err := h.Records.Calibration(c.Name)
		if err != nil {
			return err
		}
		if own != nil {
			if j.stale = own.Digests.Stale(calibrate.Digests{Base: h.Base, Adapter: p.digest, Data: fileDigest(own.Digests.Path)}); len(j.stale) == 0 {
				j.calibration, j.which, j.id = own, route.CalibratedOwn, id
			} else {
				h.logger().Warn("a calibration is stale, and is not used", slog.String("customisation", c.Name), slog.String("changed", strings.Join(j.stale, ", ")))
			}
		}
	}
	if j.calibration == nil {
		shipped, err := calibrate.Default(c.Pool, h.Device.Lineage)
		if err != nil {
			return err
		}
		if shipped != nil {
			j.calibration, j.which, j.id = shipped, route.CalibratedDefault, "default"
		}
	}
	if err := h.startWatch(c.Name, j); err != nil {
		return err
	}
	p.judge = j
	return nil
}

// startWatch goes on from what the log tells. The caller holds mu.
func (h *Hybrid) startWatch(name string, j *judge) error {
	if j.calibration == nil || j.which != route.CalibratedOwn {
		return nil
	}
	j.watch = calibrate.NewWatch(j.calibration.Bands)
	if h.Records == nil {
		return nil
	}
	_, err := h.Records.Entries(func(e *record.Entry) error {
		if e.Kind == record.Decided && e.Name == name && e.Calibration == j.id && e.Told() {
			j.watch.Add(e.Row(), e.Send)
		}
		return nil
	})
	return err
}

// mostData bounds a file of rows whose digest is taken.
const mostData = 64 << 20

// fileDigest is "" where the file cannot be read: it may be gone.
func fileDigest(path string) string {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > mostData {
		return ""
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
