package bench

import "github.com/prometheus/procfs"

func sampleProcess(pid int) (sample, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return sample{}, err
	}
	stat, err := p.Stat()
	if err != nil {
		return sample{}, err
	}
	return sample{cpu: stat.CPUTime(), resident: uint64(stat.ResidentMemory())}, nil
}
