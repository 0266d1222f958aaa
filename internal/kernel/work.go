package kernel

import "sync/atomic"

// Work is what every MatMul of this process has done so far: counts that are
// the same on any machine. Products of attention are not in it.
type Work struct {
	Products int64 // multiply-adds, padding left out
	Bytes    int64 // of weights and scales gone through, once for each share of rows
}

// Done is the work so far.
func Done() Work { return Work{worked.products.Load(), worked.bytes.Load()} }

var worked struct{ products, bytes atomic.Int64 }

// count adds a MatMul whose rows are done in some shares.
func count(a *Acts, jobs []Job, shares int) {
	products, bytes := 0, 0
	for i := range jobs {
		products += jobs[i].W.rows * a.cols
		bytes += jobs[i].W.Bytes()
		if l := jobs[i].Low; l != nil {
			products += l.A.rows*l.A.cols + l.B.rows*l.B.cols
			bytes += l.A.Bytes() + l.B.Bytes()
		}
	}
	worked.products.Add(int64(products) * int64(a.n))
	worked.bytes.Add(int64(bytes) * int64(shares))
}
