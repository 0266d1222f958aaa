package hybrid

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"crayon/internal/customize"
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

	read        bool      // the calibration was looked for
	changed     time.Time // of its file
	calibration *calibrate.Calibration
	which, id   string
	stale       []string
	watch       *calibrate.Watch
}

const (
	mostProfiles = 64
	mostOwn      = 512 // examples whose scopes are compared with each other
)

// profile of a customisation, with its calibration as it is stored now.
func (h *Hybrid) profile(c *customize.Customisation) (*profile, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.profiles[c]
	if p == nil {
		var err error
		if p, err = h.makeProfile(c); err != nil {
			return nil, err
		}
		if h.profiles == nil || len(h.profiles) >= mostProfiles {
			h.profiles = map[*customize.Customisation]*profile{}
		}
		h.profiles[c] = p
	}
	return p, h.calibrated(c, p)
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
	in := h.Device.Pool
	for _, i := range in.Blended() {
		p.blend = append(p.blend, weights[in.Members[i].Name])
	}
	var err error
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
	if p.read && changed.Equal(p.changed) {
		return nil
	}
	p.calibration, p.which, p.id, p.stale, p.watch = nil, "", "", nil, nil
	if !changed.IsZero() {
		own, id, err := h.Records.Calibration(c.Name)
		if err != nil {
			return err
		}
		if own != nil {
			if p.stale = own.Digests.Stale(calibrate.Digests{Base: h.Base, Adapter: p.digest, Data: fileDigest(own.Digests.Path)}); len(p.stale) == 0 {
				p.calibration, p.which, p.id = own, route.CalibratedOwn, id
			}
		}
	}
	if p.calibration == nil {
		shipped, err := calibrate.Default(h.Device.Pool.Digest(), h.Device.Lineage)
		if err != nil {
			return err
		}
		if shipped != nil {
			p.calibration, p.which, p.id = shipped, route.CalibratedDefault, "default"
		}
	}
	p.read, p.changed = true, changed
	return h.startWatch(c.Name, p)
}

// startWatch goes on from what the log tells. The caller holds mu.
func (h *Hybrid) startWatch(name string, p *profile) error {
	if p.calibration == nil || p.which != route.CalibratedOwn {
		return nil
	}
	p.watch = calibrate.NewWatch(p.calibration.Bands)
	if h.Records == nil {
		return nil
	}
	_, err := h.Records.Entries(func(e *record.Entry) error {
		if e.Kind == record.Decided && e.Name == name && e.Calibration == p.id {
			p.watch.Add(e.Row(), e.Send)
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
