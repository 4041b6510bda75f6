"""Statistics of features whose cells lie side by side. Values in, values out."""
