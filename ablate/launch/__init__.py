"""From a plan to hardware: in this process, in workers or on a cluster, with nothing lost."""
