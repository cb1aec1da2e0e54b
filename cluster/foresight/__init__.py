"""What an engine on given hardware will do, with intervals, for anybody who asks: see `estimate.foresee`."""
