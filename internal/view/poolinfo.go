package view

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"crayon"
	"crayon/internal/paint"
	"crayon/internal/pool"
)

// Pool writes what a pool is made of.
func Pool(w io.Writer, s paint.Style, p *crayon.Pool) {
	m := &p.Made
	fmt.Fprintf(w, "pool       %s, sha256 %s\n", p.Name, p.Digest())
	fmt.Fprintf(w, "base       %s, file %.12s, lineage %.12s\n", p.Base.Name, p.Base.Digest, p.Base.Lineage)
	fmt.Fprintf(w, "feature    %s of the %s, %d tokens at most, tau %.4f\n", p.Feature.Name, p.Feature.Text, p.Feature.MaxTokens, p.Feature.Tau)
	fmt.Fprintf(w, "trained    %s\n", m.Trained())
	if m.Program != "" {
		fmt.Fprintf(w, "program    %s\n", m.Program)
	}
	stored := pool.StoredText(m)
	if p.Size() > 0 {
		stored = strings.TrimPrefix(stored+", "+humanize.Bytes(uint64(p.Size()))+" in all", ", ")
	}
	if stored != "" {
		fmt.Fprintf(w, "stored     %s\n", stored)
	}
	fmt.Fprintf(w, "licence    %s\n", m.Licence)
	fmt.Fprintf(w, "           %s\n", m.LicenceNote())
	for i, x := range m.Limits {
		fmt.Fprintf(w, "%-10s %s\n", once(i, "not for"), x)
	}
	for i, x := range m.Changes {
		fmt.Fprintf(w, "%-10s %s\n", once(i, "changed"), x)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "data       %d sets\n", len(m.DataSets()))
	for _, d := range m.DataSets() {
		fmt.Fprintf(t, "  %s\t%s rows\t%s\n", d.Name, humanize.Comma(int64(d.Rows)), d.Licence)
	}
	t.Flush()
	fmt.Fprintf(w, "members    %d, rank %d in all; a customisation keeps %d\n", len(p.Members), p.Rank(), p.Keep)
	for _, x := range p.Members {
		kind := fmt.Sprintf("%d examples", x.Examples)
		if x.Shared {
			kind = "for everyone"
		}
		fmt.Fprintf(t, "  %s%s\trank %d\t%s\t%s\n", s.Block(paint.Crayon(x.Name), 2), x.Name, x.Rank, kind, strings.Join(x.Covers, ", "))
	}
	t.Flush()
	if len(p.Baseline) > 0 {
		fmt.Fprintf(w, "baselines  the benchmark's rivals; crayon pool strip NEW leaves them out\n")
		for _, b := range p.BaselineSizes() {
			fmt.Fprintf(t, "  %s\trank %d\t%s\n", b.Name, b.Rank, humanize.Bytes(uint64(b.Bytes)))
		}
		t.Flush()
	}
}

// once is the text before the first of several lines.
func once(i int, text string) string {
	if i > 0 {
		return ""
	}
	return text
}

// HealthLine is a pool's health in a line.
func HealthLine(w io.Writer, s paint.Style, h *pool.Health) {
	dead := s.Good("none dead")
	if len(h.Dead) > 0 {
		dead = s.Bad("dead: " + strings.Join(h.Dead, ", "))
	}
	alike := ""
	if h.Alike[0] != "" {
		alike = fmt.Sprintf("; most alike %s and %s (cosine %.2f)", h.Alike[0], h.Alike[1], h.Redundancy)
	}
	fmt.Fprintf(w, "health     %d blended adapters, as different as %.1f%s; %s\n", h.Blended, h.Effective, alike, dead)
}

// mostHeat is how many members a table of all pairs has room for.
const mostHeat = 16

// Health writes a pool's health: of each adapter its norm, rank use and, where
// they were tried, its effect on a probe (nil: not tried), and the cosines.
func Health(w io.Writer, s paint.Style, h *pool.Health, effect map[string]float64) {
	HealthLine(w, s, h)
	if h.Shared > 0 {
		fmt.Fprintf(w, "           the shared adapter's norm is %.1f times the blended ones' mean\n", h.Shared)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "  \tnorm\tof mean\trank used\tnearest\t"
	if effect != nil {
		head += "effect\t"
	}
	fmt.Fprintln(t, head)
	for _, m := range h.Members {
		nearest := fmt.Sprintf("%.2f", m.Nearest)
		if m.Shared {
			nearest = "-"
		}
		row := fmt.Sprintf("  %s\t%.3g\t%.2f\t%.1f of %d\t%s\t", m.Name, m.Norm, m.Share, m.EffectiveRank, m.Rank, nearest)
		if effect != nil {
			row += fmt.Sprintf("%.3f\t", effect[m.Name])
		}
		if m.Dead != "" {
			row += "  dead: " + m.Dead
		}
		fmt.Fprintln(t, row)
	}
	t.Flush()
	fmt.Fprintln(w, "cosine     of the adapters' products over all layers, in hundredths")
	if len(h.Members) > mostHeat {
		pairs(w, h)
		return
	}
	widest := 0
	for _, m := range h.Members {
		widest = max(widest, len(m.Name))
	}
	for i, m := range h.Members {
		fmt.Fprintf(w, "  %s", paint.Pad(m.Name, widest))
		for j := range h.Members {
			cell := fmt.Sprintf("%4.0f", 100*h.Cosine[i][j])
			if i == j {
				cell = "   ."
			} else {
				cell = s.Heat(math.Abs(h.Cosine[i][j]), cell)
			}
			fmt.Fprint(w, cell)
		}
		fmt.Fprintln(w)
	}
}

// pairs writes the ten pairs that are most alike.
func pairs(w io.Writer, h *pool.Health) {
	var all [][2]int
	for i := range h.Members {
		for j := range i {
			all = append(all, [2]int{j, i})
		}
	}
	slices.SortStableFunc(all, func(a, b [2]int) int {
		x, y := math.Abs(h.Cosine[a[0]][a[1]]), math.Abs(h.Cosine[b[0]][b[1]])
		switch {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	for _, p := range all[:min(10, len(all))] {
		fmt.Fprintf(w, "  %3.0f  %s, %s\n", 100*h.Cosine[p[0]][p[1]], h.Members[p[0]].Name, h.Members[p[1]].Name)
	}
}
