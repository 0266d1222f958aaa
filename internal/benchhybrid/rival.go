package benchhybrid

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/optimize"
	"gonum.org/v1/gonum/stat"

	"crayon/internal/fault"
)

// rival is a logistic regression from the query's feature, the device's
// confidence and who asks to whether a side is right: the router that one would
// learn without Crayon's signals (as RouteLLM does from embeddings, Ong et al.,
// arXiv:2406.18665). Its ridge is chosen by folds within what it learns from.
type rival struct {
	x     blas64.General // a row a query, every column of mean 0 and deviation 1
	asker []int          // whose the row is
	query []int          // which query it is
	users int
}

// ridges are tried; askerRidge is that of the users' levels.
var ridges = []float64{1000, 300, 100, 30, 10}

const askerRidge = 3

// rivalSteps bounds a fit.
const rivalSteps = 60

// newRival makes columns of features (rows of one length) and further numbers; a
// missing number is the column's mean.
func newRival(features [][]float64, further [][]float64, users, queries []string) *rival {
	n := len(features)
	width := len(features[0]) + len(further[0])
	r := &rival{x: blas64.General{Rows: n, Cols: width, Stride: width, Data: make([]float64, n*width)}}
	column := make([]float64, n)
	for c := range width {
		var known []float64
		for i := range n {
			if c < len(features[i]) {
				column[i] = features[i][c]
			} else {
				column[i] = further[i][c-len(features[0])]
			}
			if !math.IsNaN(column[i]) {
				known = append(known, column[i])
			}
		}
		mean, dev := 0.0, 0.0
		if len(known) > 1 {
			mean, dev = stat.MeanStdDev(known, nil)
		}
		for i := range n {
			if v := (column[i] - mean) / dev; dev > 1e-12 && !math.IsNaN(v) {
				r.x.Data[i*width+c] = v
			}
		}
	}
	r.asker, r.users = numbered(users)
	r.query, _ = numbered(queries)
	return r
}

// numbered are names as numbers, in the order they first come, and how many.
func numbered(names []string) (out []int, n int) {
	at := map[string]int{}
	for _, name := range names {
		i, ok := at[name]
		if !ok {
			i = len(at)
			at[name] = i
		}
		out = append(out, i)
	}
	return out, len(at)
}

// logits of rows under weights: columns, users' levels, level of all.
func (r *rival) logits(w []float64, rows []int) []float64 {
	out := make([]float64, len(rows))
	for k, i := range rows {
		row := r.x.Data[i*r.x.Stride : i*r.x.Stride+r.x.Cols]
		out[k] = floats.Dot(row, w[:r.x.Cols]) + w[r.x.Cols+r.asker[i]] + w[len(w)-1]
	}
	return out
}

// fit is the weights of least penalised log loss over rows, from warm on.
func (r *rival) fit(y []float64, rows []int, ridge float64, warm []float64) ([]float64, error) {
	width := r.x.Cols
	gather := blas64.General{Rows: len(rows), Cols: width, Stride: width, Data: make([]float64, len(rows)*width)}
	for k, i := range rows {
		copy(gather.Data[k*width:(k+1)*width], r.x.Data[i*width:(i+1)*width])
	}
	eta, diff := make([]float64, len(rows)), make([]float64, len(rows))
	vector := func(x []float64) blas64.Vector { return blas64.Vector{N: len(x), Inc: 1, Data: x} }
	predict := func(w []float64) {
		blas64.Gemv('N', 1, gather, vector(w[:width]), 0, vector(eta))
		for k, i := range rows {
			eta[k] += w[width+r.asker[i]] + w[len(w)-1]
		}
	}
	p := optimize.Problem{
		Func: func(w []float64) float64 {
			predict(w)
			var loss float64
			for k, i := range rows {
				loss += softplus(eta[k]) - y[i]*eta[k]
			}
			users := w[width : len(w)-1]
			return loss + ridge/2*floats.Dot(w[:width], w[:width]) + askerRidge/2.0*floats.Dot(users, users)
		},
		Grad: func(grad, w []float64) {
			predict(w)
			clear(grad)
			for k, i := range rows {
				diff[k] = 1/(1+math.Exp(-eta[k])) - y[i]
				grad[width+r.asker[i]] += diff[k]
				grad[len(w)-1] += diff[k]
			}
			blas64.Gemv('T', 1, gather, vector(diff), 0, vector(grad[:width]))
			floats.AddScaled(grad[:width], ridge, w[:width])
			floats.AddScaled(grad[width:len(w)-1], askerRidge, w[width:len(w)-1])
		},
	}
	got, err := optimize.Minimize(p, warm, &optimize.Settings{MajorIterations: rivalSteps, GradientThreshold: 1e-3}, &optimize.LBFGS{})
	if got == nil || err != nil && !slices.ContainsFunc(got.X, func(x float64) bool { return x != 0 }) {
		return nil, &fault.Error{Op: "fit the learned rival", Err: err}
	}
	return got.X, nil // as far as it came: the search may end at the last bit
}

func softplus(x float64) float64 {
	if x > 30 {
		return x
	}
	return math.Log1p(math.Exp(x))
}

// innerFolds choose the ridge.
const innerFolds = 3

// cross are probabilities of rows, each by a fit without its fold; within lets
// a training row of a fold be used: nil for all of the other folds'.
func (r *rival) cross(y []float64, folds []int, within func(fold, row int) bool) ([]float64, error) {
	out := make([]float64, len(y))
	for f := range slices.Max(folds) + 1 {
		var train, test []int
		for i := range y {
			if folds[i] == f {
				test = append(test, i)
			} else if within == nil || within(f, i) {
				train = append(train, i)
			}
		}
		w, err := r.tuned(y, train)
		if err != nil {
			return nil, err
		}
		for k, eta := range r.logits(w, test) {
			out[test[k]] = 1 / (1 + math.Exp(-eta))
		}
	}
	return out, nil
}

// tuned fits rows with the ridge that told left-out ones of them best.
func (r *rival) tuned(y []float64, rows []int) ([]float64, error) {
	loss := make([]float64, len(ridges))
	zero := make([]float64, r.x.Cols+r.users+1)
	for f := range innerFolds {
		var train, test []int
		for _, i := range rows {
			if r.query[i]%innerFolds == f {
				test = append(test, i)
			} else {
				train = append(train, i)
			}
		}
		warm := zero
		for k, ridge := range ridges {
			w, err := r.fit(y, train, ridge, warm)
			if err != nil {
				return nil, err
			}
			warm = w
			for j, eta := range r.logits(w, test) {
				loss[k] += softplus(eta) - y[test[j]]*eta
			}
		}
	}
	return r.fit(y, rows, ridges[floats.MinIdx(loss)], zero)
}
