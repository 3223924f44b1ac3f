"""What a run costs: the resources that it takes, the rates of machines, prices."""
