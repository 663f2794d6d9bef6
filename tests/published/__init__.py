"""What publications say that training costs, counted again by the planner."""
